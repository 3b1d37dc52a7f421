# SPDX-License-Identifier: GPL-2.0-or-later
"""Single pages of a guest, as the agent finds and asks about them: pagemap, idle bitmap, regions, reclaim."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from guestloop.agent import pages, regions
from guestloop.agent.guest import Guest
from guestloop.agent.guests import Roster
from guestloop.agent.memory import Mapping
from guestloop.agent.page_idle import PageIdle
from guestloop.agent.pages import Flag, Run
from guestloop.agent.reclaim import LEAST_PAGES, PIECE_PAGES, Reclaim, Reset, Taken
from guestloop.agent.regions import Atlas, Region, Regions, Watched, prove_addresses
from guestloop.ground.errors import GuestError
from guestloop.ground.units import PAGE

ALIGNED = 2 << 20  # QEMU aligns a guest's RAM


def words_file(path: Path, words: list[int]) -> Path:
    path.write_bytes(array("Q", words).tobytes())
    return path


def test_frames_in_order() -> None:
    lines = ["frames at=0 runs=5fe8+1,10+3", "frames at=4 runs=a+2"]
    assert pages.parse_frames(lines) == [(0x5FE8, 1), (0x10, 3), (10, 2)]


def test_a_lost_line_is_noticed() -> None:
    with pytest.raises(ValueError, match="page 1 was wanted next, seen: frames at=4"):
        pages.parse_frames(["frames at=0 runs=5+1", "frames at=4 runs=a+2"])


def test_bits_are_those_of_the_kernel() -> None:
    """pagemap.rst, and include/uapi/linux/kernel-page-flags.h for the flags."""
    assert (pages.PRESENT.bit_length() - 1, pages.SWAPPED.bit_length() - 1) == (63, 62)
    assert pages.FRAME_MASK.bit_length() == 55
    assert (pages.KPF_REFERENCED, pages.KPF_THP) == (1 << 2, 1 << 22)


def test_pagemap_entries() -> None:
    here, gone = pages.PRESENT | 1 << 55 | 0x1234, pages.SWAPPED | 0x99
    assert [pages.frame_of(entry) for entry in (here, gone, 0)] == [0x1234, 0, 0]
    assert pages.swapped([here, gone, 0]) == "010"


def test_own_pagemap_has_a_page_that_is_here() -> None:
    held = array("Q", range(1000))
    entries = pages.read_pagemap(os.getpid(), [pages.Run(held.buffer_info()[0], 1)])
    assert entries[0] & pages.PRESENT


def test_idle_bitmap(tmp_path: Path) -> None:
    bitmap = words_file(tmp_path / "bitmap", [0, 0, 0, 0])
    pages.mark_idle([1, 65, 64, 0, 200], bitmap)
    assert list(array("Q", bitmap.read_bytes())) == [0b10, 0b11, 0, 1 << 8]
    assert pages.read_idle([1, 2, 0, 65, 200], bitmap) == "10-11"


def test_a_short_file_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="2 words from 3 were wanted, 8 bytes came"):
        pages.read_words(words_file(tmp_path / "flags", [0] * 4), [(3, 2)])


def test_flags_of_pages(tmp_path: Path) -> None:
    flags = words_file(tmp_path / "flags", [0, pages.KPF_THP, 0, pages.KPF_THP | pages.KPF_REFERENCED])
    assert pages.read_flags([1, 2, 3, 0], pages.KPF_THP, flags) == "101-"
    assert pages.read_flags([1, 3], pages.KPF_REFERENCED, flags) == "01"


def test_runs_of_numbers() -> None:
    assert pages.consecutive([7, 3, 2, 9, 8]) == [(2, 2), (7, 3)]
    assert pages.consecutive([]) == []


# --- regions ---------------------------------------------------------------------------------------


def guest_of(pid: int = 0, threads: tuple[int, ...] = (), cgroup: Any = None) -> Guest:
    """An L2 as far as its pages are concerned."""
    process = SimpleNamespace(pid=pid)
    return cast(Guest, SimpleNamespace(process=process, vcpu_threads=lambda: list(threads), cgroup=cgroup))


class Ram:
    """Memory of this process, which plays the QEMU of a guest whose region begins in frame ``first``."""

    GVA = 0x7F0000000000

    def __init__(self, frames: list[int]) -> None:
        self._held = array("Q", bytes(2 * ALIGNED))
        self.start = -(-self._held.buffer_info()[0] // ALIGNED) * ALIGNED
        self._first = (self.start - self._held.buffer_info()[0]) // 8
        for page, frame in enumerate(frames):
            self.write(frame, self.GVA + page * PAGE)

    def write(self, frame: int, word: int) -> None:
        """Word 0 of a frame; the payload stamps each page with its own address."""
        self._held[self._first + frame * PAGE // 8] = word

    def mapping(self, pid: int, size: int) -> Mapping:
        """As memory.find_ram, with a neighbour of some pages merged in before the RAM."""
        assert pid == os.getpid()
        return Mapping(self.start - 3 * PAGE, self.start + size)


FRAMES = [7, 2, 3, 4]
LINES = ["frames at=0 runs=7+1", "frames at=1 runs=2+3"]


@pytest.fixture
def ram(monkeypatch: pytest.MonkeyPatch) -> Ram:
    ram = Ram(FRAMES)
    monkeypatch.setattr(regions, "find_ram", ram.mapping)
    return ram


@pytest.fixture
def roster() -> Roster:
    roster = Roster()
    roster.running["l2"] = guest_of(os.getpid(), (11, 12))
    return roster


def test_a_region_is_found_by_the_frames_that_the_payload_reports(ram: Ram, roster: Roster) -> None:
    atlas = Atlas()
    service = Regions(roster, atlas)
    assert service.watch("l2", 2, LINES, ram.GVA) == Watched(pages=4, runs=2)
    assert atlas["l2"].addresses == [ram.start + frame * PAGE for frame in FRAMES]
    assert service.watch("l2", 2, LINES, ram.GVA, unit=2) == Watched(pages=2, runs=2)
    assert atlas["l2"].addresses == [ram.start + frame * PAGE for frame in FRAMES[::2]]


@pytest.mark.parametrize(("frame", "page"), [(7, 0), (4, 3)])
def test_a_page_that_is_not_where_it_should_be_is_no_region(
    ram: Ram, roster: Roster, frame: int, page: int
) -> None:
    ram.write(frame, 1)
    atlas = Atlas()
    with pytest.raises(GuestError, match=f"page {page} of the region is not at"):
        Regions(roster, atlas).watch("l2", 2, LINES, ram.GVA)
    with pytest.raises(GuestError, match="the region of L2 'l2' is not known"):
        atlas["l2"]


def test_addresses_are_proven_by_what_is_there(ram: Ram) -> None:
    """Of pages that age as one the first is looked at, and it says which page it is."""
    region = Region(guest_of(os.getpid()), (Run(ram.start + 2 * PAGE, 3),), unit=2)
    prove_addresses(region, ram.GVA + PAGE)
    ram.write(3, 1)  # stands for nothing
    prove_addresses(region, ram.GVA + PAGE)
    ram.write(4, 1)
    with pytest.raises(GuestError, match="page 2 of the region is not at"):
        prove_addresses(region, ram.GVA + PAGE)


def test_of_a_large_region_some_pages_are_proof_enough(ram: Ram) -> None:
    frames = list(range(64))
    for page in frames:
        ram.write(page, ram.GVA + page * PAGE)
    region = Region(guest_of(os.getpid()), (Run(ram.start, 64),))
    ram.write(1, 0)
    prove_addresses(region, ram.GVA)
    ram.write(4, 0)
    with pytest.raises(GuestError, match="page 4 of the region"):
        prove_addresses(region, ram.GVA)


def test_of_pages_that_age_as_one_the_first_is_looked_at() -> None:
    runs = (Run(0x40000, 3), Run(0x80000, 3))
    assert Region(guest_of(1), runs, unit=2).addresses == [0x40000, 0x42000, 0x81000]
    held = array("Q", bytes(PAGE))
    start = held.buffer_info()[0] // PAGE * PAGE
    region = Region(guest_of(os.getpid()), (Run(start, 2),))
    assert len(region.read_pagemap()) == 2
    assert list(replace(region, unit=2).read_pagemap()) == list(region.read_pagemap())[:1]


class Pagemap:
    """Entries of a region's pages as /proc/PID/pagemap has them, one list for each time it is read."""

    def __init__(self, *readings: list[int]) -> None:
        self._readings = list(readings)

    def read(self, pid: int, runs: object) -> array[int]:
        """The last one stays."""
        return array("Q", self._readings.pop(0) if len(self._readings) > 1 else self._readings[0])


def here(*frames: int) -> list[int]:
    """Entries of pages in these host frames; 0: in swap."""
    return [pages.PRESENT | frame if frame else pages.SWAPPED for frame in frames]


def known(atlas: Atlas, count: int, guest: Guest | None = None) -> Atlas:
    """With a region of so many pages, called ``l2``."""
    atlas.known["l2"] = Region(guest or guest_of(), (Run(0, count),))
    return atlas


def test_what_is_asked_about_pages_is_answered_by_letters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flags = words_file(tmp_path / "flags", [0, pages.KPF_THP, pages.KPF_REFERENCED, 0])
    monkeypatch.setattr(pages, "read_pagemap", Pagemap(here(1, 0, 2, 3)).read)
    monkeypatch.setattr(pages, "read_flags", partial(pages.read_flags, flags=flags))
    service = Regions(Roster(), known(Atlas(), 4))
    assert service.swapped("l2") == "0100"
    assert service.flagged("l2", Flag.THP) == "1-00"
    assert service.flagged("l2", Flag.REFERENCED) == "0-10"


def test_vcpus_are_moved_by_the_turn(roster: Roster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "place", lambda threads, turn: [*threads, turn])
    assert Regions(roster, Atlas()).move_vcpus("l2", 3) == [11, 12, 3]
    with pytest.raises(GuestError, match="no L2 is called 'other'"):
        Regions(roster, Atlas()).move_vcpus("other", 3)


# --- page_idle -------------------------------------------------------------------------------------


@pytest.fixture
def bitmap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The idle bitmap of 2048 frames, and their flags: frames 512 to 1023 are a huge page."""
    bitmap = words_file(tmp_path / "bitmap", [0] * 32)
    flags = [pages.KPF_THP if 512 <= frame < 1024 else 0 for frame in range(2048)]
    file = words_file(tmp_path / "flags", flags)
    monkeypatch.setattr(pages, "IDLE_BITMAP", bitmap)
    monkeypatch.setattr(pages, "mark_idle", partial(pages.mark_idle, bitmap=bitmap))
    monkeypatch.setattr(pages, "read_idle", partial(pages.read_idle, bitmap=bitmap))
    monkeypatch.setattr(pages, "read_flags", partial(pages.read_flags, flags=file))
    yield bitmap


def marked(bitmap: Path) -> list[int]:
    """The frames that are idle."""
    words = array("Q", bitmap.read_bytes())
    return [frame for frame in range(2048) if words[frame >> 6] >> (frame & 63) & 1]


def test_pages_are_marked_and_asked_about(bitmap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "read_pagemap", Pagemap(here(5, 6, 0, 7)).read)
    service = PageIdle(known(Atlas(), 4))
    service.mark("l2")
    assert marked(bitmap) == [5, 6, 7]
    words_file(bitmap, [1 << 5 | 1 << 7, *[0] * 31])  # 6 was used
    assert service.idle("l2") == "10-1"


def test_a_huge_page_has_its_flag_in_its_first_frame(bitmap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "read_pagemap", Pagemap(here(515, 1023, 1024)).read)
    service = PageIdle(known(Atlas(), 3))
    service.mark("l2")
    assert marked(bitmap) == [512, 1024]
    assert service.idle("l2") == "111"


def test_a_page_that_moved_is_unknown(bitmap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "read_pagemap", Pagemap(here(5, 6, 7), here(5, 9, 0)).read)
    service = PageIdle(known(Atlas(), 3))
    service.mark("l2")
    assert service.idle("l2") == "1--"


def test_a_kernel_without_idle_flags_lacks_them(bitmap: Path) -> None:
    assert PageIdle(Atlas()).lacks() == ""
    bitmap.unlink()
    assert "CONFIG_IDLE_PAGE_TRACKING" in PageIdle(Atlas()).lacks()


# --- reclaim ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "most", "after", "calls"),
    [
        (0, 9, "1000", 0),
        (1, 9, "1100", 1),
        (2, 9, "1110", 2),
        (3, 9, "1111", 3),
        (3, 2, "1110", 2),  # it gives up
    ],
)
def test_reclaim_takes_pieces_until_enough_pages_are_gone(
    wanted: int, most: int, after: str, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    guest = guest_of(cgroup=SimpleNamespace(reclaim=asked.append))
    readings = here(0, 1, 2, 3), here(0, 0, 2, 3), here(0, 0, 0, 3), here(0, 0, 0, 0)
    monkeypatch.setattr(pages, "read_pagemap", Pagemap(*readings).read)
    taken = Reclaim(known(Atlas(), 4, guest)).take("l2", wanted, most)
    assert taken == Taken("1000", after, calls)
    assert asked == [PIECE_PAGES * PAGE] * calls


class Looking:
    """A cgroup of so many pages; each call of reclaim looks at a piece of them. ``done`` says what was."""

    def __init__(self, held: int, piece: int, done: list[object]) -> None:
        self._held, self._piece, self.done, self._looks = held, piece, done, 700

    def looks(self) -> int:
        return self._looks

    def stat(self, name: str) -> int:
        assert name == "anon"
        return self._held * PAGE

    def reclaim(self, amount: int) -> None:
        self.done.append(amount)
        self._looks += self._piece


@pytest.mark.parametrize(
    ("piece", "reset"), [(100, Reset(1, done=True)), (40, Reset(3, done=True)), (30, Reset(3, done=False))]
)
def test_reclaim_begins_anew_once_it_has_looked_at_each_page(
    piece: int, reset: Reset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after, each run of the region is put on the inactive list."""
    done: list[object] = []
    monkeypatch.setattr(os, "pidfd_open", lambda _pid: os.open("/dev/null", os.O_RDONLY))
    monkeypatch.setattr(
        "guestloop.agent.memory.advise",
        lambda _pidfd, start, length, advice: done.append((start, length, advice.name)),
    )
    guest = guest_of(cgroup=Looking(100, piece, done))
    atlas = known(Atlas(), 4, guest)
    assert Reclaim(atlas).reset("l2", 3) == reset
    cold = [(run.start, run.pages * PAGE, "MADV_COLD") for run in atlas["l2"].runs]
    assert done == [*cold, *[LEAST_PAGES * PAGE] * reset.calls, *cold]
