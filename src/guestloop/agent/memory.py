"""Page an L2's RAM out of L1's memory, at will."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path

from guestloop.ground.errors import GuestError
from guestloop.ground.wait import Deadline

MADV_PAGEOUT = 21
SYS_PROCESS_MADVISE = 440
MIB = 1 << 20
PIECE = 4 * MIB
# Pages of QEMU itself come and go; what is left of the guest's is then too little to matter.
ENOUGH_LEFT = MIB // 4
# QEMU goes on running and touching its own pages while its cgroup is under pressure.
PRESSED_ENOUGH = 4 * MIB
SWAPS = Path("/proc/swaps")
CGROUPS = Path("/sys/fs/cgroup")


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Mapping:
    """A piece of another process's address space, in bytes."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


def swap_on(device: Path) -> int:
    """Use a block device that holds a swap header; gives the swap space in KiB.

    Raises GuestError when the kernel refuses or no swap space appears. A kernel without swapping gives 0.
    """
    if not SWAPS.exists():
        return 0
    if str(device) not in SWAPS.read_text() and _libc.swapon(os.fsencode(device), 0) != 0:
        raise GuestError(f"swapon {device}: {os.strerror(ctypes.get_errno())}")
    for line in SWAPS.read_text().splitlines()[1:]:
        return int(line.split()[2])
    raise GuestError(f"swapon {device} changed nothing: /proc/swaps is empty")


def find_ram(pid: int, size: int) -> Mapping:
    """The mapping of a QEMU that is its guest's RAM. Raises GuestError when there is none."""
    if found := pick_ram(Path(f"/proc/{pid}/maps").read_text(), size):
        return found
    raise GuestError(f"process {pid} has no anonymous mapping of {size // MIB} MiB")


def pick_ram(maps: str, size: int) -> Mapping | None:
    """In the text of /proc/PID/maps: private, writable, not of a file, of just this size.

    Neighbours may have been merged into it, so the smallest one that is large enough is taken.
    """
    large: list[Mapping] = []
    for line in maps.splitlines():
        span, permissions, _offset, _device, inode, *_name = line.split()
        start, end = (int(part, 16) for part in span.split("-"))
        if permissions.startswith("rw") and inode == "0" and end - start >= size:
            large.append(Mapping(start, end))
    return min(large, key=lambda mapping: mapping.size, default=None)


def page_out(pidfd: int, start: int, length: int) -> None:
    """MADV_PAGEOUT on a range of another process: reclaims hot pages too (mm/madvise.c)."""
    vector = _Iovec(start, length)
    done = _libc.syscall(SYS_PROCESS_MADVISE, pidfd, ctypes.byref(vector), 1, MADV_PAGEOUT, 0)
    if done < 0:
        raise GuestError(f"process_madvise(MADV_PAGEOUT): {os.strerror(ctypes.get_errno())}")


def have_swap(swaps: Path = SWAPS) -> bool:
    """Is any swap space in use by L1?"""
    return swaps.exists() and len(swaps.read_text().splitlines()) > 1


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
        """A value of memory.stat, in bytes. Raises GuestError when the kernel does not tell it."""
        for line in (self._path / "memory.stat").read_text().splitlines():
            name, value = line.split()
            if name == wanted:
                return int(value)
        raise GuestError(f"this L1's memory.stat has no {wanted!r}: is swap accounting configured?")

    def swap_cached(self) -> int:
        """Bytes that are in swap and still in memory."""
        return self.stat("swapcached")

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


def press_out(cgroup: Cgroup, timeout_s: float) -> dict[str, float]:
    """Have the cgroup reclaim until next to nothing of its anonymous memory is left, QEMU's own included.

    Unlike MADV_PAGEOUT this ages the pages first. Gives the bytes left, and the seconds it took.
    """
    started, deadline = time.monotonic(), Deadline(timeout_s)
    while (left := cgroup.stat("anon") + cgroup.swap_cached()) > PRESSED_ENOUGH and not deadline.passed:
        cgroup.reclaim(left)
    return {"left_bytes": left, "seconds": time.monotonic() - started}


def page_out_all(pid: int, size: int, cgroup: Cgroup, timeout_s: float) -> dict[str, float]:
    """Page a guest's RAM out, every page of it; best while its vCPUs are at rest.

    MADV_PAGEOUT writes pages to swap but leaves them in the swap cache, where the next access finds
    them without any I/O; the cgroup is made to drop them as their writing ends. Gives the bytes that
    were left in the swap cache, and the seconds it took.
    """
    started, deadline = time.monotonic(), Deadline(timeout_s)
    ram = find_ram(pid, size)
    pidfd = os.pidfd_open(pid)
    try:
        for start in range(ram.start, ram.end, PIECE):
            page_out(pidfd, start, min(PIECE, ram.end - start))
    finally:
        os.close(pidfd)
    while (left := cgroup.swap_cached()) > ENOUGH_LEFT and not deadline.passed:
        cgroup.reclaim(left)
    return {"left_bytes": left, "seconds": time.monotonic() - started}
