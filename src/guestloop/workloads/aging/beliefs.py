# SPDX-License-Identifier: GPL-2.0-or-later
"""What L1 believes about an L2's pages, against what the L2 did: pure arithmetic.

Counts are page-scans: one page in one scan (in one sample, for DAMON). A page is *touched* when the
load visited it between the two ends of the scan, and *untouched* when nobody did.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import not_

from guestloop.agent.pages import NO, YES
from guestloop.ground.errors import GuestError


@dataclass(frozen=True)
class Belief:
    """Pages touched and of these taken for idle, pages untouched and of these taken for young.

    ``unknown`` pages (moved, or not in memory) are in none of the other figures. ``looked_at`` counts the
    pages for which the driver gave an answer, once a scan.
    """

    touched: int = 0
    false_idle: int = 0
    untouched: int = 0
    false_young: int = 0
    unknown: int = 0
    looked_at: int = 0

    def __add__(self, other: Belief) -> Belief:
        return Belief(
            self.touched + other.touched,
            self.false_idle + other.false_idle,
            self.untouched + other.untouched,
            self.false_young + other.false_young,
            self.unknown + other.unknown,
            self.looked_at + other.looked_at,
        )

    @property
    def idle_rate(self) -> float:
        """Share of the touched pages that was taken for idle; 0 when none was touched."""
        return self.false_idle / self.touched if self.touched else 0.0

    @property
    def young_rate(self) -> float:
        """Share of the untouched pages that was taken for young."""
        return self.false_young / self.untouched if self.untouched else 0.0


@dataclass(frozen=True)
class Share:
    """The pages that a scan touches: page p when ``p // grain % parts == part`` (guest-images/l2)."""

    part: int
    parts: int = 2
    grain: int = 1

    def touches(self, pages: Iterable[int]) -> list[bool]:
        """For each of these pages: is it touched?"""
        part, parts, grain = self.part, self.parts, self.grain
        return [page // grain % parts == part for page in pages]

    @property
    def words(self) -> str:
        """As the payload's ``start`` takes it."""
        return f"part={self.part} parts={self.parts} grain={self.grain}"


def judge_idle(share: Share, idle: str) -> Belief:
    """From a letter for each page: is it idle?"""
    touches = share.touches(range(len(idle)))
    touched, untouched = [*compress(idle, touches)], [*compress(idle, map(not_, touches))]
    known = [letters.count(YES) + letters.count(NO) for letters in (touched, untouched)]
    unknown = len(idle) - sum(known)
    return Belief(known[0], touched.count(YES), known[1], untouched.count(NO), unknown, sum(known))


def judge_taken(share: Share, before: str, after: str, asked: int) -> Belief:
    """From what reclaim took when it was asked for ``asked`` pages, fewer than were untouched.

    ``before`` and ``after``: is the page in swap? Only pages in memory before count. A touched page
    that was taken is false idle. Reclaim that believed untouched pages to be idle would have taken as
    many as it was asked for, so what it did not find counts as false young.
    """
    here = [page for page, letter in enumerate(before) if letter == NO]
    touched = [*compress(here, share.touches(here))]
    untouched = len(here) - len(touched)
    wrongly = [after[page] for page in touched].count(YES)
    rightly = [after[page] for page in here].count(YES) - wrongly
    wanted = min(asked, untouched)
    gone = len(before) - len(here)
    return Belief(len(touched), wrongly, wanted, max(0, wanted - rightly), gone, len(here))


def judge_evicted(share: Share, swapped: str) -> Belief:
    """From what MGLRU evicted when it was asked to evict all that is not in its youngest generations."""
    return judge_idle(share, swapped)


def judge_samples(share: Share, accesses: Sequence[int], samples: int) -> Belief:
    """From DAMON's counts: in how many of ``samples`` it saw each page accessed (-1: not told)."""
    belief = Belief()
    for seen, is_touched in zip(accesses, share.touches(range(len(accesses))), strict=True):
        if seen < 0:
            belief += Belief(unknown=samples)
        elif is_touched:
            belief += Belief(touched=samples, false_idle=samples - min(seen, samples), looked_at=1)
        else:
            belief += Belief(untouched=samples, false_young=min(seen, samples), looked_at=1)
    return belief


def parse_frames(lines: Sequence[str]) -> list[str]:
    """The payload's ``frames`` lines out of its answer to ``where``. Raises GuestError when there is none."""
    frames = [line for line in lines if line.startswith("frames ")]
    if not frames:
        raise GuestError(f"the payload told no page frames; seen: {lines[-1:]}")
    return frames
