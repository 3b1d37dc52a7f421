# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel that exists already, as files on disk, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guestloop.results.origin import Origin, OriginKind

__all__ = ["Origin", "OriginKind", "Unpacked"]


@dataclass(frozen=True)
class Unpacked:
    """A kernel as files in the cache, as its package or its build laid them out.

    ``release`` is what ``uname -r`` will print. ``image`` is a bzImage or an ELF vmlinux, ``modules`` the
    directory with ``kernel/`` below it (``lib/modules/RELEASE``), ``config`` its configuration.
    """

    release: str
    image: Path
    modules: Path
    config: Path
    origin: Origin
