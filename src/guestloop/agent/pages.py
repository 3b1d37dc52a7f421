# SPDX-License-Identifier: GPL-2.0-or-later
"""What L1's kernel knows about each page of an L2: where it is, and whether it was used.

Documentation/admin-guide/mm/pagemap.rst and idle_page_tracking.rst of the kernel. Under emulation Python
is slow, so that whole arrays are read at once and each page is handled a few times at most.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from guestloop.ground.units import PAGE
from guestloop.ground.words import parse_words

if TYPE_CHECKING:
    from collections.abc import Iterator

WORD = 8
PRESENT = 1 << 63
SWAPPED = 1 << 62
FRAME_MASK = (1 << 55) - 1
# fs/proc/page.c: bits of /proc/kpageflags (include/uapi/linux/kernel-page-flags.h).
KPF_REFERENCED = 1 << 2
KPF_THP = 1 << 22
IDLE_BITMAP = Path("/sys/kernel/mm/page_idle/bitmap")
KPAGEFLAGS = Path("/proc/kpageflags")

# One letter a page, as the agent answers.
YES = "1"
NO = "0"
UNKNOWN = "-"


class Flag(StrEnum):
    """Flags of /proc/kpageflags that a page may have."""

    REFERENCED = "referenced"
    THP = "thp"

    @property
    def bit(self) -> int:
        return {Flag.REFERENCED: KPF_REFERENCED, Flag.THP: KPF_THP}[self]


@dataclass(frozen=True)
class Run:
    """Consecutive pages; ``start`` is the address of the first in QEMU, in bytes."""

    start: int
    pages: int


def parse_frames(lines: Iterable[str]) -> list[tuple[int, int]]:
    """Guest frames and lengths of the runs in the payload's ``frames at= runs=`` lines, in order.

    Raises ValueError when the lines do not follow one another.
    """
    runs: list[tuple[int, int]] = []
    told = 0
    for line in lines:
        words = parse_words(line)
        if int(words["at"]) != told:
            raise ValueError(f"frames: page {told} was wanted next, seen: {line}")
        for run in words["runs"].split(","):
            frame, _, pages = run.partition("+")
            runs.append((int(frame, 16), int(pages)))
            told += int(pages)
    return runs


def read_words(path: Path, runs: Iterable[tuple[int, int]]) -> array[int]:
    """64-bit words of a file, for runs of (first word, number of words), one after the other."""
    words = array("Q")
    with _opened(path, os.O_RDONLY) as file:
        for first, count in runs:
            data = os.pread(file, count * WORD, first * WORD)
            if len(data) != count * WORD:
                raise OSError(f"{path}: {count} words from {first} were wanted, {len(data)} bytes came")
            words.frombytes(data)
    return words


def read_pagemap(pid: int, runs: Sequence[Run]) -> array[int]:
    """The pagemap entry of every page of the runs, in order."""
    return read_words(Path(f"/proc/{pid}/pagemap"), [(run.start // PAGE, run.pages) for run in runs])


def frame_of(entry: int) -> int:
    """Host frame of a page, 0 when it is not in memory."""
    return entry & FRAME_MASK if entry & PRESENT else 0


def swapped(entries: Iterable[int]) -> str:
    """For each pagemap entry whether the page is in swap."""
    return "".join(YES if entry & SWAPPED else NO for entry in entries)


def frame_words(frames: Iterable[int]) -> dict[int, int]:
    """Words of the idle bitmap that hold these frames, each with the bits of the frames set."""
    words: dict[int, int] = {}
    for frame in frames:
        if frame:
            words[frame >> 6] = words.get(frame >> 6, 0) | 1 << (frame & 63)
    return words


def consecutive(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Numbers as runs of (first, count), in ascending order."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][0] + runs[-1][1]:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((number, 1))
    return runs


def mark_idle(frames: Iterable[int], bitmap: Path = IDLE_BITMAP) -> None:
    """Set the idle flag of these frames, which takes the Accessed bits away (mm/page_idle.c)."""
    words = frame_words(frames)
    with _opened(bitmap, os.O_WRONLY) as file:
        for first, count in consecutive(words):
            data = array("Q", (words[first + i] for i in range(count)))
            os.pwrite(file, data.tobytes(), first * WORD)


def read_idle(frames: Sequence[int], bitmap: Path = IDLE_BITMAP) -> str:
    """For each frame whether it is still idle: a page that was used has lost the flag."""
    runs = consecutive(frame_words(frames))
    numbers = [first + i for first, count in runs for i in range(count)]
    words: Mapping[int, int] = dict(zip(numbers, read_words(bitmap, runs), strict=True))
    return "".join(
        UNKNOWN if not frame else YES if words[frame >> 6] >> (frame & 63) & 1 else NO for frame in frames
    )


def read_flags(frames: Sequence[int], bit: int, flags: Path = KPAGEFLAGS) -> str:
    """For each frame whether it has this flag of /proc/kpageflags."""
    runs = consecutive({frame for frame in frames if frame})
    numbers = [first + i for first, count in runs for i in range(count)]
    words = dict(zip(numbers, read_words(flags, runs), strict=True))
    return "".join(UNKNOWN if not frame else YES if words[frame] & bit else NO for frame in frames)


@contextmanager
def _opened(path: Path, mode: int) -> Iterator[int]:
    file = os.open(path, mode | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)
