# SPDX-License-Identifier: GPL-2.0-or-later
"""The multi-gen LRU, by its debugfs file: new generations, and the eviction of old ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from guestloop.agent.memory import Need
from guestloop.agent.settings import NOT_HERE, Setting
from guestloop.results.findings import FindingKind
from guestloop.workloads.aging.beliefs import Belief, judge_evicted
from guestloop.workloads.aging.driver import Driver, Scan, Sizes
from guestloop.workloads.reading import take_reading

if TYPE_CHECKING:
    from guestloop.agent.services import Agent

ALL = "7"
WALKS_ASK_KVM = "lru_gen.walks_ask_kvm"
"""The fact of a round that says whether page-table walks asked KVM which pages are young."""

WALKS = 3  # mm/vmscan.c: LRU_GEN_CORE and LRU_GEN_MM_WALK


# A page that comes back less than four generations after the one that it was evicted from is a recent
# refault (mm/workingset.c: lru_gen_test_recent). Newer kernels (7.2 does) have many of these protect the
# pages that page-table walks had found young before (mm/vmscan.c: get_tier_idx, sort_folio): they are not
# evicted, whether or not anybody touched them since. The youngest generation is two beyond the evicted
# ones, so two more do.
GENERATIONS_BEFORE = 2


class Mglru(Driver):
    """New generations with touching between them; what is evicted then was taken for idle.

    The half that is touched was evicted in the scan before. It is out for so long that MGLRU does not learn
    from its coming back, or else the other half would not be judged by its use alone.
    """

    name = "mglru"
    needs = (Need.SWAP, Need.READ_AHEAD)
    huge = Sizes(mib=32, ram_mib=192, scans=3)

    def lacks(self, agent: Agent) -> str:
        return agent.mglru.lacks()

    @contextmanager
    def running(self, scan: Scan) -> Iterator[None]:
        """MGLRU is on meanwhile; the round is invalid when it reads back something else."""
        with scan.l2.l1.changed({Setting.LRU_GEN: ALL}) as seen:
            enabled = seen[Setting.LRU_GEN]
            if enabled == NOT_HERE or int(enabled, 16) & WALKS != WALKS:
                text = f"MGLRU is not on with page-table walks: it reads back {enabled}"
                scan.this.find(FindingKind.NOT_PROVEN, text)
            yield

    def _walk(self, scan: Scan) -> bool:
        """Begin a generation; did the walk ask KVM which pages are young? Not before 6.12.

        mm/vmscan.c: walk_pte_range() has called ptep_clear_young_notify() since then.
        """
        before = take_reading(scan.l2)
        scan.agent.mglru.age(scan.name)
        return take_reading(scan.l2).events_since(before).get("age_hva", 0) > 0

    def acted(self, belief: Belief) -> bool:
        """It evicted a page that nobody had touched.

        MGLRU may protect all of them by their tier (mm/vmscan.c: get_tier_idx), whatever their use was.
        """
        return belief.false_young < belief.untouched

    def scan(self, scan: Scan) -> Belief:
        """Begin generations, touch, begin another, evict."""
        asked = self._walk(scan)
        scan.this.facts[WALKS_ASK_KVM] = "yes" if asked else "no"
        if not asked:
            # Only an eviction looks at SPTEs, where pages are still young from when they were last touched.
            # This one takes none of them, and clears that.
            scan.agent.mglru.age(scan.name)
            scan.agent.mglru.evict(scan.name)
            scan.agent.mglru.age(scan.name)
        for _ in range(GENERATIONS_BEFORE - 1):
            scan.agent.mglru.age(scan.name)
        scan.move_vcpus()
        scan.touch()
        scan.agent.mglru.age(scan.name)
        scan.agent.mglru.evict(scan.name)
        return judge_evicted(scan.judged, scan.agent.regions.swapped(scan.name))
