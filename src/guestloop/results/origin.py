# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a kernel comes from, as it is recorded with the results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class OriginKind(StrEnum):
    """How a kernel came to be."""

    BUILT = "built"  # from a source and a series, by guestloop
    PACKAGE = "package"  # a package of a package source
    FILES = "files"  # package files named on the command line
    INSTALLED = "installed"  # a kernel in /boot
    TREE = "tree"  # a build tree of somebody else


@dataclass(frozen=True)
class Origin:
    """What was named, and what was taken for it, so that a record says exactly which kernel ran.

    ``argument`` is what the user wrote, ``name`` the package or path it was resolved to, and ``sha256`` maps
    the name of each file that was unpacked to its digest. ``suite`` and ``release_date`` (the ``Date`` field
    of the suite's Release file) are of package sources. ``verified``: a signed Release file vouches for it.
    """

    kind: OriginKind
    argument: str
    name: str
    version: str
    sha256: Mapping[str, str] = field(default_factory=dict)
    suite: str = ""
    release_date: str = ""
    verified: bool = False


def describe_origin(origin: Origin) -> str:
    """What was taken for a kernel that exists, in one line, and whether a signature vouches for it."""
    suite = f"suite {origin.suite}, Release of {origin.release_date}" if origin.suite else ""
    parts = (
        " ".join(filter(None, (origin.name, origin.version))),
        suite,
        "" if origin.verified else "no signature vouches for it",
    )
    return ", ".join(filter(None, parts))
