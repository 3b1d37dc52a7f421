# SPDX-License-Identifier: GPL-2.0-or-later
"""This machine's control groups, and where in them this process is (admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from guestloop.machines.host import read_text

MOUNTS = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
"""Where version 2 is: alone, or beside version 1 (systemd's hybrid)."""


class Hierarchy(StrEnum):
    """What the machine has of control groups."""

    UNIFIED = "v2"
    HYBRID = "v1, with v2 beside it"
    LEGACY = "v1"
    NONE = "none"


@dataclass(frozen=True)
class Cgroups:
    """``own`` is the directory of this process's cgroup of version 2; None where there is none to be seen.

    ``controllers`` are those that children of it can have now, ``writable``: this process may make children.
    """

    hierarchy: Hierarchy
    own: Path | None
    controllers: tuple[str, ...]
    writable: bool


def read_cgroups(root: Path = Path("/")) -> Cgroups:
    """Look at /proc/self/cgroup and /sys/fs/cgroup below ``root``."""
    mount = next(
        (path for name in MOUNTS if (path := root / name) and (path / "cgroup.procs").exists()), None
    )
    rows = read_text(root / "proc/self/cgroup").splitlines()
    if mount is None:
        return Cgroups(Hierarchy.LEGACY if rows else Hierarchy.NONE, None, (), False)
    # A path that leads upwards is outside of what this process's namespace shows.
    inside = next((row[3:] for row in rows if row.startswith("0::/") and ".." not in row), None)
    own = mount / inside.lstrip("/") if inside is not None else None
    return Cgroups(
        hierarchy=Hierarchy.UNIFIED if mount == root / MOUNTS[0] else Hierarchy.HYBRID,
        own=own,
        controllers=tuple(read_text(own / "cgroup.subtree_control").split()) if own else (),
        writable=own is not None and os.access(own, os.W_OK),
    )
