# SPDX-License-Identifier: GPL-2.0-or-later
"""A memory cgroup for each guest, so that reclaim can be aimed at it alone."""

from __future__ import annotations

import errno
import itertools
from pathlib import Path

from guestloop.ground.errors import GuestError

CGROUPS = Path("/sys/fs/cgroup")


def have_memory_cgroups(root: Path = CGROUPS) -> bool:
    """Can this L1 limit and reclaim a group's memory?"""
    controllers = root / "cgroup.controllers"
    return controllers.exists() and "memory" in controllers.read_text().split()


class Cgroup:
    """A memory cgroup (v2) of one guest, so that reclaim can be aimed at it alone.

    In an L1 without memory cgroups guests run all the same, but nothing can be asked of this.
    Each has a name of its own: one that was removed lives on while any of its pages do, and MGLRU's debugfs
    file goes on to list it by its name (mm/vmscan.c: lru_gen_seq_show).
    """

    _numbers = itertools.count(1)

    def __init__(self, name: str, root: Path = CGROUPS) -> None:
        self.name = f"l2-{name}.{next(self._numbers)}"
        self._path = root / self.name
        self._real = have_memory_cgroups(root)
        if self._real:
            (root / "cgroup.subtree_control").write_text("+memory")
            self._path.mkdir()

    def add(self, pid: int) -> None:
        """Put a process in; what it has allocated before stays charged elsewhere."""
        if self._real:
            (self._path / "cgroup.procs").write_text(f"{pid}")

    def stat(self, wanted: str) -> int:
        """A value of memory.stat, in bytes or events. Raises GuestError when the kernel does not tell it."""
        (value,) = self._stats(wanted)
        return value

    def _stats(self, *wanted: str) -> list[int]:
        """Several of them in one reading, for which the kernel adds up what its CPUs have counted."""
        lines = (self._path / "memory.stat").read_text().splitlines()
        values = dict(line.split() for line in lines)
        for name in wanted:
            if name not in values:
                raise GuestError(f"this L1's memory.stat has no {name!r}: is swap accounting configured?")
        return [int(values[name]) for name in wanted]

    def swap_cached(self) -> int:
        """Bytes that are in swap and still in memory."""
        return self.stat("swapcached")

    def looks(self) -> int:
        """How often reclaim has looked at a page to see whether it was used, on either of its lists."""
        return sum(self._stats("pgscan", "pgrefill"))

    def reclaim(self, amount: int) -> None:
        """Ask for ``amount`` bytes back; getting less is no error."""
        try:
            (self._path / "memory.reclaim").write_text(f"{amount}")
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise

    def remove(self) -> None:
        """Drop it, once its processes have ended."""
        if self._real:
            self._path.rmdir()
