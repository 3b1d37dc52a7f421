# SPDX-License-Identifier: GPL-2.0-or-later
"""The classic LRU: what reclaim takes was taken for idle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from guestloop.agent.memory import Need
from guestloop.results.findings import FindingKind
from guestloop.workloads.aging.beliefs import Belief, judge_taken
from guestloop.workloads.aging.driver import EVENT, Driver, Scan, Scene, Sizes

if TYPE_CHECKING:
    from guestloop.agent.services import Agent
    from guestloop.lab.client import L2

PAGE_OUT_S = 20.0
MOST_CALLS = 60
"""Of reclaim in a scan, and to look at every page, for each unit of scale."""

SPARE_SCANS = 7
"""So many more scans there would be pages for."""


class Reclaim(Driver):
    """L1 reclaims from the guest's memory cgroup with MGLRU off.

    It looks at pages when it comes to them: a page touched in the scan before may still be young from then,
    and rightly so. Hence the same half is touched in each scan.
    """

    name = "reclaim"
    needs = (Need.SWAP, Need.READ_AHEAD)
    most_false_idle = 0.15
    most_false_young = 0.3
    alternates = False
    small = Sizes(mib=16, ram_mib=96, scans=8)
    huge = Sizes(mib=32, ram_mib=192, scans=3)

    def lacks(self, agent: Agent) -> str:  # noqa: ARG002
        """Nothing beyond its needs: every kernel that swaps reclaims."""
        return ""

    def settle(self, l2: L2) -> None:
        """What is not the region's goes out first, or reclaim would be content with that."""
        l2.page_out(PAGE_OUT_S)

    @contextmanager
    def running(self, scan: Scan) -> Iterator[None]:
        """All pages are young from stamping, and are so at reclaim's first look at them.

        What this first look takes is touched once: it comes back before anything is counted.
        """
        reset = scan.agent.reclaim.reset(scan.name, MOST_CALLS * scan.scene.scale)
        if not reset.done:
            text = f"reclaim did not look at each page once in {reset.calls} calls"
            scan.this.find(FindingKind.NOT_PROVEN, text)
        scan.touch()
        yield

    def scanned(self, belief: Belief, events: Mapping[str, int]) -> int:  # noqa: ARG002
        """Each look: how many pages reclaim looks at for one that it takes is up to it."""
        return events[EVENT]

    def scan(self, scan: Scan) -> Belief:
        """Touch, and have fewer pages reclaimed than were not touched."""
        wanted = wanted_pages(scan.scene)
        scan.touch()
        taken = scan.agent.reclaim.take(scan.name, wanted, MOST_CALLS * scan.scene.scale)
        return judge_taken(scan.judged, taken.before, taken.after, wanted)


def wanted_pages(scene: Scene) -> int:
    """Pages that reclaim takes in a scan: so few that it does not come to the end of its list in the last.

    It looks at two pages for each that it takes: at half of the region in all scans.
    """
    return scene.region_pages // 2 // (scene.sizes.scans + SPARE_SCANS)
