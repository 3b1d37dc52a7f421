# SPDX-License-Identifier: GPL-2.0-or-later
"""Aging by reclaim: the classic LRU asks for each page whether it was used (mm/vmscan.c, mm/rmap.c)."""

from __future__ import annotations

from dataclasses import dataclass

from guestloop.agent import pages
from guestloop.agent.regions import Atlas
from guestloop.ground.units import PAGE

PIECE_PAGES = 64


@dataclass(frozen=True)
class Taken:
    """Which pages of the region were in swap before and after, and how often reclaim was asked."""

    before: str
    after: str
    calls: int


class Reclaim:
    """Service: reclaim from an L2's memory cgroup."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas

    def take(self, name: str, wanted: int, most_calls: int) -> Taken:
        """Have the cgroup give memory back until ``wanted`` pages of the region have gone to swap.

        In small pieces, because each call scans as much as it needs for its piece: one large call goes over
        the lists several times, and takes at the second look what it had found young at the first. Ends
        after ``most_calls`` in any case.
        """
        region = self._atlas[name]
        before = after = region.swapped()
        calls = 0
        while calls < most_calls and after.count(pages.YES) < before.count(pages.YES) + wanted:
            region.guest.cgroup.reclaim(PIECE_PAGES * PAGE)
            after, calls = region.swapped(), calls + 1
        return Taken(before, after, calls)
