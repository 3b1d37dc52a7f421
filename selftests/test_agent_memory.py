# SPDX-License-Identifier: GPL-2.0-or-later
"""L1's memory and swap space, and how an L2's RAM is paged out, on stand-ins for the kernel's files."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from guestloop.agent import memory
from guestloop.agent.cgroup import Cgroup, have_memory_cgroups
from guestloop.agent.memory import (
    ENOUGH_LEFT,
    PRESSED_ENOUGH,
    Mapping,
    Memory,
    Need,
    find_ram,
    have_swap,
    page_out_all,
    pick_ram,
    press_out,
    use_swap,
)
from guestloop.ground.errors import GuestError
from guestloop.ground.units import MIB

DATA = Path(__file__).parent / "data"

# --- where RAM is ----------------------------------------------------------------------------------

MAPS = (DATA / "maps-qemu-7.2.txt").read_text()


def test_ram_is_the_smallest_mapping_that_is_large_enough() -> None:
    """On record: 96 MiB of RAM, beside the 1 GiB in which the emulator keeps its code."""
    ram = Mapping(0x7FEC51E00000, 0x7FEC57E00000)
    assert pick_ram(MAPS, 96 * MIB) == pick_ram(MAPS, 90 * MIB) == ram
    assert ram.size == 96 * MIB
    assert pick_ram(MAPS, 2048 * MIB) is None


@pytest.mark.parametrize(
    "line",
    [
        "7f0000000000-7f0010000000 rw-p 00000000 fe:00 77 /memory.img",
        "7f0000000000-7f0010000000 r--p 00000000 00:00 0",
        "7f0000000000-7f0010000000 ---p 00000000 00:00 0",
    ],
)
def test_files_and_what_cannot_be_written_are_no_ram(line: str) -> None:
    assert pick_ram(line, 128 * MIB) is None
    assert pick_ram(line.replace(line.split(" ", 1)[1], "rw-p 00000000 00:00 0"), 128 * MIB)


def test_a_process_without_such_a_mapping_is_named() -> None:
    with pytest.raises(GuestError, match=f"process {os.getpid()} has no anonymous mapping of 1048576 MiB"):
        find_ram(os.getpid(), 1 << 40)


# --- cgroups ---------------------------------------------------------------------------------------


@pytest.fixture
def cgroups(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.subtree_control").write_text("")
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    return tmp_path


def test_cgroup_of_a_guest(cgroups: Path) -> None:
    group = Cgroup("storm", cgroups)
    assert group.name.startswith("l2-storm.")
    files = cgroups / group.name
    group.add(77)
    assert (files / "cgroup.procs").read_text() == "77"
    (files / "memory.stat").write_text("anon 4096\nswapcached 8192\n")
    assert group.swap_cached() == 8192 and group.stat("anon") == 4096
    group.reclaim(8192)
    assert (files / "memory.reclaim").read_text() == "8192"
    (files / "memory.stat").write_text("anon 4096\npgscan 7\npgrefill 5\n")
    assert group.looks() == 12
    with pytest.raises(GuestError, match="no 'swapcached'"):
        group.swap_cached()


def test_reclaiming_less_than_was_asked_for_is_no_error(
    cgroups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, number = Cgroup("storm", cgroups), errno.EAGAIN

    def refuse(_path: Path, _text: str) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_text", refuse)
    group.reclaim(8192)
    number = errno.EINVAL
    with pytest.raises(OSError, match="Invalid argument"):
        group.reclaim(8192)


def test_a_cgroup_is_not_taken_for_one_that_was_removed(cgroups: Path) -> None:
    first = Cgroup("storm", cgroups)
    first.remove()
    assert Cgroup("storm", cgroups).name != first.name


def test_without_memory_cgroups_guests_run_all_the_same(cgroups: Path) -> None:
    (cgroups / "cgroup.controllers").write_text("cpu io\n")
    assert not have_memory_cgroups(cgroups) and not have_memory_cgroups(cgroups / "none")
    group = Cgroup("storm", cgroups)
    group.add(77)
    group.remove()
    assert not list(cgroups.glob("l2-*"))


# --- swap ------------------------------------------------------------------------------------------

HEADER = "Filename Type Size Used Priority\n"
IN_USE = HEADER + "/dev/vdc partition 1048572 0 -2\n"


def test_is_there_swap_space(tmp_path: Path) -> None:
    assert not have_swap(tmp_path / "swaps")  # no CONFIG_SWAP
    (tmp_path / "swaps").write_text(HEADER)
    assert not have_swap(tmp_path / "swaps")
    (tmp_path / "swaps").write_text(IN_USE)
    assert have_swap(tmp_path / "swaps")


class Kernel:
    """swapon(2) that puts the device into its own /proc/swaps, or refuses."""

    def __init__(self, swaps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.swaps, self.refuses, self.deaf = swaps, False, False
        self.asked: list[bytes] = []
        swaps.write_text(HEADER)
        monkeypatch.setattr(memory, "SWAPS", swaps)
        monkeypatch.setattr(memory, "_libc", SimpleNamespace(swapon=self.swapon))
        monkeypatch.setattr(ctypes, "get_errno", lambda: errno.EINVAL)

    def swapon(self, device: bytes, _flags: int) -> int:
        self.asked.append(device)
        if not self.refuses and not self.deaf:
            self.swaps.write_text(f"{HEADER}{device.decode()} partition 1048572 0 -2\n")
        return -1 if self.refuses else 0


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path / "swaps", monkeypatch)


def test_swap_space_is_used_once(kernel: Kernel) -> None:
    assert use_swap(Path("/dev/vdc")) == use_swap(Path("/dev/vdc")) == 1048572
    assert kernel.asked == [b"/dev/vdc"]


def test_swap_space_that_cannot_be_used_is_an_error(kernel: Kernel) -> None:
    kernel.refuses = True
    with pytest.raises(GuestError, match=r"^swapon /dev/vdc: Invalid argument$"):
        use_swap(Path("/dev/vdc"))
    kernel.refuses, kernel.deaf = False, True
    with pytest.raises(GuestError, match=r"^swapon /dev/vdc changed nothing: /proc/swaps is empty$"):
        use_swap(Path("/dev/vdc"))


def test_a_kernel_without_swapping_has_none(kernel: Kernel) -> None:
    kernel.swaps.unlink()
    assert use_swap(Path("/dev/vdc")) == 0 and kernel.asked == []


def test_the_disk_is_found_by_its_serial(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for disk, serial in (("vda", ""), ("vdb", "payload\n"), ("vdc", "swap\n")):
        (tmp_path / "block" / disk).mkdir(parents=True)
        if serial:
            (tmp_path / "block" / disk / "serial").write_text(serial)
    monkeypatch.setattr(memory, "BLOCK", tmp_path / "block")
    assert Memory().swap_on("swap") == 1048572 and kernel.asked == [b"/dev/vdc"]
    with pytest.raises(GuestError, match=r"^no disk has the serial 'root'$"):
        Memory().swap_on("root")


# --- what there is ---------------------------------------------------------------------------------


def test_what_l1_lacks_is_named_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "THP", tmp_path / "enabled")
    monkeypatch.setattr(memory, "have_swap", lambda: False)
    monkeypatch.setattr(memory, "have_memory_cgroups", lambda: True)
    monkeypatch.setattr(memory, "have_userfaultfd", lambda: False)
    for name in ("READ_AHEAD", "HUGE_POOL", "KPAGEFLAGS"):
        monkeypatch.setattr(memory, name, tmp_path / name)
    assert Memory().lacks([]) == Memory().lacks([Need.MEMCG]) == ""
    monkeypatch.setattr(memory, "SWAPS", tmp_path / "swaps")
    wanted = "L1's kernel has no CONFIG_SWAP; L1's kernel has no CONFIG_TRANSPARENT_HUGEPAGE"
    assert Memory().lacks([Need.SWAP, Need.MEMCG, Need.THP]) == wanted
    (tmp_path / "swaps").touch()
    assert Memory().lacks([Need.SWAP]) == f"L1 uses no swap space ({tmp_path / 'swaps'} is empty)"
    lacking = Memory().lacks(list(Need))
    for option in ("SYSCTL", "HUGETLBFS", "PROC_PAGE_MONITOR", "USERFAULTFD"):
        assert f"CONFIG_{option}" in lacking
    (tmp_path / "enabled").write_text("always madvise [never]\n")
    assert Memory().lacks([Need.THP]) == ""
    assert "CONFIG_MEMCG" in Need.MEMCG.reason


def test_a_kernel_that_cannot_handle_faults_in_user_space(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, there in ((errno.ENOSYS, False), (errno.EPERM, True)):
        monkeypatch.setattr(memory, "_libc", SimpleNamespace(syscall=lambda *_words: -1))
        monkeypatch.setattr(ctypes, "get_errno", lambda number=number: number)
        assert memory.have_userfaultfd() is there


def test_vmstat_has_what_rounds_are_proven_with() -> None:
    assert {"pswpin", "pswpout"} <= Memory().read_vmstat().keys()


# --- paging out ------------------------------------------------------------------------------------


class Reclaimed:
    """A cgroup from which each reclaim takes a piece; ``least`` cannot be taken."""

    def __init__(self, left: int, piece: int, least: int = 0) -> None:
        self.left, self._piece, self._least = left, piece, least
        self.asked: list[int] = []

    def swap_cached(self) -> int:
        return self.left

    def stat(self, _name: str) -> int:
        return 0

    def reclaim(self, amount: int) -> None:
        self.asked.append(amount)
        self.left = max(self._least, self.left - self._piece)


def test_pressure_goes_on_until_next_to_nothing_is_left() -> None:
    group: Any = Reclaimed(3 * PRESSED_ENOUGH, PRESSED_ENOUGH)
    done = press_out(group, 5.0)
    assert done.left_bytes == PRESSED_ENOUGH and done.seconds < 5
    assert group.asked == [3 * PRESSED_ENOUGH, 2 * PRESSED_ENOUGH]


def test_pressure_ends_at_the_deadline_and_says_what_is_left() -> None:
    group: Any = Reclaimed(3 * PRESSED_ENOUGH, PRESSED_ENOUGH, least=PRESSED_ENOUGH + 1)
    assert press_out(group, 0.02).left_bytes == PRESSED_ENOUGH + 1


class TwoLooks:
    """In place of a deadline: over after two looks."""

    def __init__(self, _seconds: float) -> None:
        self._looks = 0

    @property
    def passed(self) -> bool:
        self._looks += 1
        return self._looks > 2


def test_as_long_as_pages_go_out_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: what is waited for is progress."""
    monkeypatch.setattr(memory, "Deadline", TwoLooks)
    group: Any = Reclaimed(100 * PRESSED_ENOUGH, PRESSED_ENOUGH)
    assert press_out(group, 5.0).left_bytes == PRESSED_ENOUGH and len(group.asked) == 99
    group = Reclaimed(100 * PRESSED_ENOUGH, PRESSED_ENOUGH, least=90 * PRESSED_ENOUGH)
    assert press_out(group, 5.0).left_bytes == 90 * PRESSED_ENOUGH and len(group.asked) == 12


HOLDER = """
import mmap, sys
ram = mmap.mmap(-1, 16 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
ram.write(b"x" * len(ram))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder() -> Iterator[int]:
    """A process with 16 MiB of what looks like a guest's RAM."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stdout.readline() == b"ready\n"
        yield process.pid
        process.kill()


def test_every_page_is_paged_out_and_then_dropped_from_the_swap_cache(
    holder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges: list[tuple[int, int]] = []
    monkeypatch.setattr(memory, "advise", lambda _fd, start, length, _advice: ranges.append((start, length)))
    group: Any = Reclaimed(3 * ENOUGH_LEFT, ENOUGH_LEFT)
    assert page_out_all(holder, 16 * MIB, group, 5.0).left_bytes == ENOUGH_LEFT
    ram = find_ram(holder, 16 * MIB)
    assert [start for start, _ in ranges] == list(range(ram.start, ram.end, memory.PIECE))
    assert sum(length for _, length in ranges) == ram.size
    assert group.asked == [3 * ENOUGH_LEFT, 2 * ENOUGH_LEFT]


def test_madvise_on_another_process(holder: int) -> None:
    """The real system call; where it is allowed and there is no swap space, it succeeds and does nothing."""
    pidfd = os.pidfd_open(holder)
    try:
        ram = find_ram(holder, 16 * MIB)
        with pytest.raises(GuestError, match=r"^process_madvise\(MADV_PAGEOUT\): Invalid argument$"):
            memory.advise(pidfd, ram.start + 1, MIB, memory.PAGEOUT)  # not the beginning of a page
    finally:
        os.close(pidfd)


def test_numbers_are_those_of_the_kernel() -> None:
    """include/uapi/asm-generic/mman-common.h, arch/x86/entry/syscalls/syscall_64.tbl; pages are whole."""
    assert (memory.PAGEOUT.number, memory.SYS_PROCESS_MADVISE) == (21, 440)
    assert memory.PIECE % 4096 == 0
