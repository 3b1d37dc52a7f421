# SPDX-License-Identifier: GPL-2.0-or-later
"""What drives the flushes of each call path: the count that they are divided by.

A rate scatters no more than it must if its denominator is the cause. Unmaps follow the pages that are paged
out and hardly anything else: per page paged out they scattered by 1 % between rounds, per page-ready event by
5 to 14 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from guestloop.results.records import Round, Work
from guestloop.stats.samples import Sample

PER_ROUND = "round"


@dataclass(frozen=True)
class Driver:
    """A cause that is counted: the name of an event of a round, and one of them in words.

    ``always``: it is the cause even where rounds differ in how often it comes for the same work, which is up
    to the memory management of L1 and not to its KVM.
    """

    event: str
    words: str
    always: bool = False


READY = Driver("page_ready", "page-ready event")
PAGED_OUT = Driver("pages_swapped_out", "page paged out", always=True)
PAGED_IN = Driver("pages_swapped_in", "page paged in")
AGED = Driver("age_hva", "aged page")
YOUNG = Driver("young_pages", "young page", always=True)
SYNCED = Driver("dirty_log_syncs", "log sync")
COLLECTED = Driver("dirty_ring_resets", "ring reset")
FAULTED = Driver("pf_taken", "page fault")

RETRIED = ("pf_taken", "exits")
"""Counters that have one for each fault of a vCPU that waits for its page."""

DRIVERS = {
    "async_page_ready": (READY,),
    "mmu_notifier_unmap": (PAGED_OUT,),
    "clear_flush_young": (YOUNG, AGED),
    "clear_young": (AGED,),
    "dirty_log": (SYNCED, COLLECTED),
    "page_fault": (FAULTED,),
}
"""By path, the first that was counted in every round of both kernels. All others are counted by work."""


@dataclass(frozen=True)
class Exposure:
    """What the counts of one path are divided by in each round, and its unit in words."""

    unit: str
    reference: tuple[float, ...]
    tested: tuple[float, ...]

    def is_like(self, work: Exposure) -> bool:
        """For the same work both kernels have it alike, within a factor of LIKE."""
        before, after = sum(self.reference) / sum(work.reference), sum(self.tested) / sum(work.tested)
        return max(before, after) <= LIKE * min(before, after)


LIKE = 1.3
"""If kernels differ by more in how often their own event comes for the same work, it is no common measure."""


def exposure_of(path: str, reference: Sequence[Round], tested: Sequence[Round], work: Exposure) -> Exposure:
    """What drives a path in these rounds, or else ``work``, that of the guest (``work_of``)."""
    for driver in DRIVERS.get(path, ()):
        own = _by_event(driver, reference, tested)
        if min(*own.reference, *own.tested) > 0:
            return own if driver.always or own.is_like(work) else work
    return work


def cost_of(reference: Sequence[Round], tested: Sequence[Round], work: Exposure) -> Exposure:
    """What faults and exits are divided by: where ``work`` is L1's own scans, visits of the load."""
    every = (*reference, *tested)
    if work.unit == Work.SCANNED.unit and all(item.work.get(Work.VISITED, 0) > 0 for item in every):
        return _by_work(Work.VISITED, reference, tested)
    return work


def is_paged_alike(reference: Sequence[Round], tested: Sequence[Round], work: Exposure) -> bool:
    """Whether L1 paged out, and back in, as much for the same work on both kernels, within a factor of LIKE.

    If not, the guest has other pages to fault in, which is not up to KVM: where huge pages come back from
    swap as huge pages, each page-out of one page takes all 512.
    """
    return all(_is_alike(driver, reference, tested, work) for driver in (PAGED_OUT, PAGED_IN))


def _is_alike(driver: Driver, reference: Sequence[Round], tested: Sequence[Round], work: Exposure) -> bool:
    """Of an event that both kernels had."""
    own = _by_event(driver, reference, tested)
    return not sum(own.reference) or not sum(own.tested) or own.is_like(work)


def work_of(reference: Sequence[Round], tested: Sequence[Round]) -> Exposure:
    """The work of the guest, or where rounds have recorded none, or of different kinds, the rounds."""
    every = (*reference, *tested)
    units = {item.work_unit for item in every}
    if len(units) == 1 and all(item.work.get(item.work_unit, 0) > 0 for item in every):
        return _by_work(Work(units.pop()), reference, tested)
    return Exposure(PER_ROUND, (1.0,) * len(reference), (1.0,) * len(tested))


def _by_work(kind: Work, reference: Sequence[Round], tested: Sequence[Round]) -> Exposure:
    before, after = (tuple(float(item.work[kind]) for item in rounds) for rounds in (reference, tested))
    return Exposure(kind.unit, before, after)


def _by_event(driver: Driver, reference: Sequence[Round], tested: Sequence[Round]) -> Exposure:
    before, after = (tuple(_count(driver, item) for item in rounds) for rounds in (reference, tested))
    return Exposure(driver.words, before, after)


def _count(driver: Driver, item: Round) -> float:
    if driver.event in item.counters:
        return float(count_of(driver.event, item))
    return float(item.events.get(driver.event, 0))


def count_of(counter: str, item: Round) -> int:
    """A counter of KVM; faults and exits without those that only meet a page that is still being read in.

    A vCPU that gets no page fault of its own for it (kvmapf=off) is halted, and whatever wakes it makes it
    fault again (arch/x86/kvm/mmu/mmu.c: kvm_find_async_pf_gfn, then RET_PF_RETRY). If it was to take an
    interrupt it is never halted, and faults as fast as it can until the page is there. How often is up to
    the disk: 960 to 57800 times in a round of 4096 visits, on one kernel.
    """
    return item.counters[counter] - (_retries(item) if counter in RETRIED else 0)


def _retries(item: Round) -> int:
    tries, queued = item.events.get("async_get_page", 0), item.events.get("page_not_present", 0)
    return max(0, tries - queued)


def per_work(before: Sample, after: Sample, work: Exposure) -> tuple[float | None, float | None]:
    """The counts of two samples for the same work of the guest; None where rounds have recorded none."""
    if work.unit == PER_ROUND:
        return None, None
    return before.total / sum(work.reference), after.total / sum(work.tested)
