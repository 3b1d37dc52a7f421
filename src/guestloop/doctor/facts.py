# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that the doctor looks at, read once."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from guestloop.cache import default_root
from guestloop.ground.errors import CacheError
from guestloop.ground.units import MIB
from guestloop.machines.cgroups import Cgroups, read_cgroups
from guestloop.machines.conditions import Conditions, read_conditions
from guestloop.machines.containment import Prospect, find_way
from guestloop.machines.host import Host, read_host, read_text
from guestloop.machines.host_lock import LOCK, find_holder
from guestloop.machines.room import Room, read_room

REPOSITORY = Path(__file__).resolve().parents[3]
PACKAGES = REPOSITORY / "scripts/packages"
OPTIONAL = " optional"

_INSTALLED = re.compile(r"^Package: (\S+)\n(?:[A-Z].*\n)*?Status: \S+ \S+ installed$", re.MULTILINE)


@dataclass(frozen=True)
class Disk:
    """Where the cache is, or would be; how much is free there, in MiB, and whether kernels are built."""

    path: Path
    free_mib: int
    built: bool


@dataclass(frozen=True)
class Packages:
    """Debian packages that are missing. ``known`` is False on a machine without dpkg."""

    known: bool
    missing: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """``disk`` is None for a user without a place for the cache. ``is_root``: packages can be installed.

    ``room`` is what a run may use, ``way`` how it would contain its L1s, and ``holder`` who uses this host's
    KVM for a run now.
    """

    host: Host
    conditions: Conditions
    room: Room
    cgroups: Cgroups
    way: Prospect
    holder: str
    packages: Packages
    disk: Disk | None
    is_root: bool


def read_facts(root: Path = Path("/")) -> Facts:
    """Look at this machine below ``root``; the disk of the cache is always that of this process."""
    cgroups = read_cgroups(root)
    return Facts(
        host=read_host(root),
        conditions=read_conditions(root),
        room=read_room(root),
        cgroups=cgroups,
        way=find_way(cgroups, root),
        holder=find_holder(root / LOCK.relative_to("/")),
        packages=read_packages(root),
        disk=_read_disk(),
        is_root=os.geteuid() == 0,
    )


def read_packages(root: Path, listed: Path = PACKAGES) -> Packages:
    """What is missing of scripts/packages, by dpkg's own record."""
    status = read_text(root / "var/lib/dpkg/status")
    if not status:
        return Packages(known=False)
    installed = set(_INSTALLED.findall(status))
    missing = [line for line in _lines(listed) if line.removesuffix(OPTIONAL) not in installed]
    return Packages(
        known=True,
        missing=tuple(line for line in missing if not line.endswith(OPTIONAL)),
        optional=tuple(line.removesuffix(OPTIONAL) for line in missing if line.endswith(OPTIONAL)),
    )


def _lines(listed: Path) -> Iterator[str]:
    lines = (line.partition("#")[0].strip() for line in listed.read_text().splitlines())
    return filter(None, lines)


def _read_disk() -> Disk | None:
    try:
        root = default_root().absolute()
        there = next(path for path in (root, *root.parents) if path.exists())
        return Disk(root, shutil.disk_usage(there).free // MIB, (root / "kernel").is_dir())
    except (CacheError, OSError):
        return None
