# SPDX-License-Identifier: GPL-2.0-or-later
"""Page an L2's RAM out of L1's memory, at will."""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from guestloop.agent.cgroup import Cgroup, have_memory_cgroups
from guestloop.agent.pages import KPAGEFLAGS
from guestloop.ground.errors import GuestError
from guestloop.ground.units import MIB
from guestloop.ground.wait import Deadline

SYS_PROCESS_MADVISE = 440
SYS_USERFAULTFD = 323
UFFD_USER_MODE_ONLY = 1
PIECE = 4 * MIB
# Pages of QEMU itself come and go; what is left of the guest's is then too little to matter.
ENOUGH_LEFT = MIB // 4
# QEMU goes on running and touching its own pages while its cgroup is under pressure.
PRESSED_ENOUGH = 4 * MIB
BLOCK = Path("/sys/block")
READ_AHEAD = Path("/proc/sys/vm/page-cluster")  # see settings.py
SWAPS = Path("/proc/swaps")
VMSTAT = Path("/proc/vmstat")
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
HUGE_POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")


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


class Memory:
    """Service: L1's memory and its swap space."""

    def swap_on(self, serial: str) -> int:
        """Use the disk with this serial as swap space; returns the swap space in KiB."""
        for disk in BLOCK.iterdir():
            file = disk / "serial"
            if file.exists() and file.read_text().strip() == serial:
                return use_swap(Path("/dev") / disk.name)
        raise GuestError(f"no disk has the serial {serial!r}")

    def read_vmstat(self) -> dict[str, int]:
        """L1's /proc/vmstat, see read_vmstat."""
        return read_vmstat()

    def lacks(self, needs: list[Need]) -> str:
        """What of these L1 does not have, as reasons; empty when it has all."""
        return "; ".join(need.reason for need in needs if not need.is_there())


class Need(StrEnum):
    """What a workload may need of L1's kernel beyond KVM."""

    SWAP = "swap"
    READ_AHEAD = "read-ahead"
    MEMCG = "memcg"
    THP = "thp"
    HUGETLB = "hugetlb"
    PAGE_MONITOR = "page-monitor"
    USERFAULTFD = "userfaultfd"

    def is_there(self) -> bool:
        return {
            Need.SWAP: have_swap,
            Need.READ_AHEAD: READ_AHEAD.exists,
            Need.MEMCG: have_memory_cgroups,
            Need.THP: THP.exists,
            Need.HUGETLB: HUGE_POOL.exists,
            Need.PAGE_MONITOR: KPAGEFLAGS.exists,
            Need.USERFAULTFD: have_userfaultfd,
        }[self]()

    @property
    def reason(self) -> str:
        """What to report when it is not there."""
        return {
            Need.SWAP: f"L1 uses no swap space ({SWAPS} is empty)"
            if SWAPS.exists()
            else "L1's kernel has no CONFIG_SWAP",
            Need.READ_AHEAD: f"L1 has no {READ_AHEAD} (CONFIG_SYSCTL): it reads ahead from swap",
            Need.MEMCG: "L1's kernel has no memory cgroups (CONFIG_MEMCG)",
            Need.THP: "L1's kernel has no CONFIG_TRANSPARENT_HUGEPAGE",
            Need.HUGETLB: "L1's kernel has no huge pages of 2 MiB (CONFIG_HUGETLBFS)",
            Need.PAGE_MONITOR: "L1's kernel has no CONFIG_PROC_PAGE_MONITOR",
            Need.USERFAULTFD: "L1's kernel has no CONFIG_USERFAULTFD",
        }[self]


def read_vmstat() -> dict[str, int]:
    """L1's /proc/vmstat: swap and reclaim counters, in pages."""
    pairs = (line.split() for line in VMSTAT.read_text().splitlines())
    return {name: int(value) for name, value in pairs}


def use_swap(device: Path) -> int:
    """Use a block device that holds a swap header; returns the swap space in KiB.

    Raises GuestError when the kernel refuses or no swap space appears. A kernel without swapping returns 0.
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


@dataclass(frozen=True)
class Advice:
    """What a process can be told about its memory (include/uapi/asm-generic/mman-common.h)."""

    name: str
    number: int


PAGEOUT = Advice("MADV_PAGEOUT", 21)  # reclaims hot pages too (mm/madvise.c)
COLD = Advice("MADV_COLD", 20)  # to the inactive list, without a flag that says it was used


def advise(pidfd: int, start: int, length: int, advice: Advice) -> None:
    """Advise on a range of another process, in bytes. Raises GuestError when the kernel refuses."""
    vector = _Iovec(start, length)
    if _libc.syscall(SYS_PROCESS_MADVISE, pidfd, ctypes.byref(vector), 1, advice.number, 0) < 0:
        raise GuestError(f"process_madvise({advice.name}): {os.strerror(ctypes.get_errno())}")


def advise_process(pid: int, pieces: Iterable[Mapping], advice: Advice) -> None:
    """Advise on pieces of another process. Raises GuestError when the kernel refuses."""
    pidfd = os.pidfd_open(pid)
    try:
        for piece in pieces:
            advise(pidfd, piece.start, piece.size, advice)
    finally:
        os.close(pidfd)


def have_swap(swaps: Path = SWAPS) -> bool:
    """Is any swap space in use by L1?"""
    return swaps.exists() and len(swaps.read_text().splitlines()) > 1


def have_userfaultfd() -> bool:
    """Does L1's kernel let a process handle the page faults of its own user space?"""
    descriptor = _libc.syscall(SYS_USERFAULTFD, os.O_CLOEXEC | UFFD_USER_MODE_ONLY)
    if descriptor >= 0:
        os.close(descriptor)
    return bool(descriptor >= 0 or ctypes.get_errno() != errno.ENOSYS)


@dataclass(frozen=True)
class PageOut:
    """What paging out left behind, and how long it took."""

    left_bytes: int
    seconds: float


def press_out(cgroup: Cgroup, timeout_s: float) -> PageOut:
    """Have the cgroup reclaim until next to nothing of its anonymous memory is left, QEMU's own included.

    Unlike MADV_PAGEOUT this ages the pages first. Ends after ``timeout_s`` without progress. Returns the
    bytes left.
    """
    started = time.monotonic()

    def count() -> int:
        return cgroup.stat("anon") + cgroup.swap_cached()

    left = _reclaim_until(PRESSED_ENOUGH, count, cgroup, timeout_s)
    return PageOut(left, time.monotonic() - started)


def _reclaim_until(enough: int, count: Callable[[], int], cgroup: Cgroup, timeout_s: float) -> int:
    """Have the cgroup reclaim until so few bytes are left as ``count`` returns them; returns these.

    However many there are: it is given up when none went for ``timeout_s``.
    """
    left, deadline = count(), Deadline(timeout_s)
    least = left
    while left > enough and not deadline.passed:
        cgroup.reclaim(left)
        left = count()
        if left < least:
            least, deadline = left, Deadline(timeout_s)
    return left


def page_out_all(pid: int, size: int, cgroup: Cgroup, timeout_s: float) -> PageOut:
    """Page a guest's RAM out, every page of it; best while its vCPUs are at rest.

    MADV_PAGEOUT writes pages to swap but leaves them in the swap cache, where the next access finds
    them without any I/O; the cgroup is made to drop them as their writing ends. Ends after ``timeout_s``
    without progress. Returns the bytes that were left in the swap cache.
    """
    started = time.monotonic()
    ram = find_ram(pid, size)
    starts = range(ram.start, ram.end, PIECE)
    advise_process(pid, (Mapping(start, min(start + PIECE, ram.end)) for start in starts), PAGEOUT)
    left = _reclaim_until(ENOUGH_LEFT, cgroup.swap_cached, cgroup, timeout_s)
    return PageOut(left, time.monotonic() - started)
