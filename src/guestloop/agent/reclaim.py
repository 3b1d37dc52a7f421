# SPDX-License-Identifier: GPL-2.0-or-later
"""Aging by reclaim: the classic LRU asks for each page whether it was used (mm/vmscan.c, mm/rmap.c)."""

from __future__ import annotations

from dataclasses import dataclass

from guestloop.agent import pages
from guestloop.agent.memory import COLD, Mapping, advise_process
from guestloop.agent.regions import Atlas, Region
from guestloop.ground.units import PAGE

PIECE_PAGES = 64
LEAST_PAGES = 32
"""Reclaim takes so many, however few it is asked for (include/linux/swap.h: SWAP_CLUSTER_MAX)."""


@dataclass(frozen=True)
class Taken:
    """Which pages of the region were in swap before and after, and how often reclaim was asked."""

    before: str
    after: str
    calls: int


@dataclass(frozen=True)
class Reset:
    """How often reclaim was asked until it had looked at each page once; ``done``: it has."""

    calls: int
    done: bool


class Reclaim:
    """Service: reclaim from an L2's memory cgroup."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas

    def reset(self, name: str, most_calls: int) -> Reset:
        """Have reclaim begin anew: no page of the region is young, and all are on the inactive list.

        MADV_COLD does not ask KVM whether a page was used (mm/madvise.c). So reclaim is made to look at
        each page of the cgroup once; what that sorts to the active list is taken back. As long as the
        inactive list is the longer one, reclaim looks at no other (mm/vmscan.c: inactive_is_low), and takes
        pages in their order.
        """
        region = self._atlas[name]
        cgroup = region.guest.cgroup
        _cool(region)
        before, calls, done = cgroup.looks(), 0, False
        while not done and calls < most_calls:
            cgroup.reclaim(LEAST_PAGES * PAGE)
            calls += 1
            done = (cgroup.looks() - before) * PAGE >= cgroup.stat("anon")
        _cool(region)
        return Reset(calls, done)

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


def _cool(region: Region) -> None:
    runs = (Mapping(run.start, run.start + run.pages * PAGE) for run in region.runs)
    advise_process(region.pid, runs, COLD)
