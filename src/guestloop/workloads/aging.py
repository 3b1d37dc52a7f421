"""Idle-page aging: which pages of an L2 does L1 take for idle, and what does finding out cost?

Between the two ends of a scan the vCPUs touch a known half of a region and leave the other half
alone; in the next scan it is the other way round. Each driver then says what it believes, page by page.

* reclaim: the classic LRU (mm/vmscan.c: shrink_folio_list, shrink_active_list) asks
  ``folio_referenced()`` (mm/rmap.c), whose notifier is ``clear_flush_young``: the one that flushes.
* page-idle, MGLRU and DAMON use ``clear_young`` and ``test_young``, which do not flush (virt/kvm/kvm_main.c).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum

from guestloop.ground.errors import GuestloopError
from guestloop.lab.client import L1, L2
from guestloop.vm.argv import L2Spec
from guestloop.workloads.beliefs import (
    Belief,
    Share,
    judge_evicted,
    judge_idle,
    judge_samples,
    judge_taken,
    parse_frames,
)
from guestloop.workloads.measuring import Lacking, Measuring
from guestloop.workloads.memory import check_contents, prove_dirty_log, start_dirty_log

EVENT = "aged_pages"
JUDGED = ("clear_flush_young", "clear_young")
LEAST_SCANS, WARM_UP = 3, 2
PAGE_OUT_S, TOUCH_S = 20.0, 60.0
PAGE = 4096
RECLAIM_CALLS, RECLAIM_S = 60, 60.0
HUGE_PAGES = 512  # small ones in a huge one
LEAST_AGED = 2000
DAMON_PAGES, DAMON_SAMPLES, DAMON_SAMPLE_US = 400, 5, 200_000
DAMON_MOVE_S = DAMON_SAMPLE_US / 1e6 / 4  # four times a sample
# No lockstep: each vCPU goes over the pages as fast as it can.
WINDOW = 4096


class Driver(StrEnum):
    """Who ages the pages."""

    RECLAIM = "reclaim"
    PAGE_IDLE = "page-idle"
    MGLRU = "mglru"
    DAMON = "damon"

    @property
    def needs(self) -> list[str]:
        """What L1 must have for it, as the agent's ``aging.lacks`` names it."""
        return {
            Driver.RECLAIM: ["swap"],
            Driver.PAGE_IDLE: ["page-idle"],
            Driver.MGLRU: ["mglru", "swap"],
            Driver.DAMON: ["damon"],
        }[self]

    @property
    def most_false_idle(self) -> float:
        """Share of touched pages that a good kernel may take for idle (docs/method-aging.md)."""
        return 0.15 if self is Driver.RECLAIM else 0.1

    @property
    def most_false_young(self) -> float:
        """Share of untouched pages that a good kernel may take for young."""
        return 0.3 if self is Driver.RECLAIM else 0.1


class Pages(StrEnum):
    """What L2's RAM is made of in L1."""

    SMALL = "4k"
    HUGE = "thp"


class DirtyLog(StrEnum):
    """Is KVM logging dirty pages during the scans?"""

    OFF = "off"
    ON = "on"


AXES: Mapping[str, tuple[str, ...]] = {
    "driver": tuple(Driver),
    "pages": tuple(Pages),
    "dirty_log": tuple(DirtyLog),
}


@dataclass(frozen=True)
class Aging:
    """How one cell is aged. Sizes in MiB.

    ``grain``: pages of 4 KiB that are touched or left side by side. ``unit``: those that age as one.
    """

    driver: Driver
    pages: Pages
    dirty_log: DirtyLog
    mib: int = 4
    ram_mib: int = 96
    vcpus: int = 2
    scans: int = 3
    grain: int = 1
    unit: int = 1

    @property
    def region_pages(self) -> int:
        return (self.mib << 20) // PAGE

    def guest(self, name: str) -> L2Spec:
        """The L2 that this needs."""
        return L2Spec(name, memory_mib=self.ram_mib, vcpus=self.vcpus)

    def share(self, scan: int) -> Share:
        """What is touched in a scan: the two halves take turns.

        Not under reclaim, which looks at pages when it comes to them: a page touched in the scan before
        may still be young from then, and rightly so. There the same half is touched each time.
        """
        return Share(0 if self.driver is Driver.RECLAIM else scan % 2, grain=self.grain)

    def judged(self, scan: int) -> Share:
        """The same share, in units."""
        return replace(self.share(scan), grain=self.grain // self.unit)

    @property
    def wanted_pages(self) -> int:
        """Pages that reclaim takes in a scan: so few that a third of the untouched ones is left at the end.

        With a sixth left, the last scan went over the list twice in one round of three.
        """
        return self.region_pages // 2 // (self.scans + WARM_UP + 5)


def aging_of(variant: Mapping[str, str]) -> Aging:
    """The figures of a cell. What does not page out leaves huge pages whole, each of them one aged page.

    For 2000 of these it takes many scans: page-idle asks for each page twice a scan, DAMON with each sample.
    """
    driver, log = Driver(variant["driver"]), DirtyLog(variant["dirty_log"])
    if Pages(variant["pages"]) is Pages.SMALL:
        if driver is Driver.RECLAIM:
            return Aging(driver, Pages.SMALL, log, mib=16, scans=8)
        return Aging(driver, Pages.SMALL, log)
    if driver in (Driver.RECLAIM, Driver.MGLRU):
        return Aging(driver, Pages.HUGE, log, mib=32, ram_mib=192, grain=HUGE_PAGES)
    scans = 4 if driver is Driver.DAMON else 17
    return Aging(
        driver, Pages.HUGE, log, mib=128, ram_mib=288, scans=scans, grain=HUGE_PAGES, unit=HUGE_PAGES
    )


@contextmanager
def prepared(l1: L1, aging: Aging) -> Iterator[None]:
    """L1 with what the cell needs switched on, and off again after it. Raises Lacking for what it lacks."""
    needs = ["memcg", *aging.driver.needs, *(["thp"] if aging.pages is Pages.HUGE else [])]
    if lacks := l1.call("aging.lacks", needs=needs):
        raise Lacking(lacks)
    l1.call("aging.huge_pages", on=aging.pages is Pages.HUGE)
    l1.call("aging.mglru", on=aging.driver is Driver.MGLRU)
    try:
        yield
    finally:
        with suppress(GuestloopError):  # an L1 that is gone has nothing switched on
            l1.call("aging.damon_stop")
            l1.call("aging.mglru", on=False)


def run(this: Measuring, l2: L2, aging: Aging) -> None:
    """Stamp, scan, check: fills in the round."""
    this.event, this.judged = EVENT, JUDGED
    if aging.driver is Driver.RECLAIM:
        # What is not the region's goes out first, or reclaim would have enough of that.
        l2.call("page_out", ram_mib=aging.ram_mib, timeout_s=PAGE_OUT_S)
    _load(this, l2, aging)
    if aging.dirty_log is DirtyLog.ON:
        start_dirty_log(this, l2)
    scan = SCANS[aging.driver]
    with _driver_on(this, l2, aging):
        belief, seconds = Belief(), []
        with this.counting(l2, "scans"):
            for number in range(1, aging.scans + 1):
                started = time.monotonic()
                belief += scan(l2, aging, number)
                seconds.append(f"{time.monotonic() - started:.2f}")
    this.facts["scan_seconds"] = " ".join(seconds)
    if aging.dirty_log is DirtyLog.ON:
        prove_dirty_log(this, l2)
    _prove(this, aging)
    _judge(this, aging, belief)
    check_contents(this, l2)


def _load(this: Measuring, l2: L2, aging: Aging) -> None:
    """Load the region and have the agent find its pages."""
    huge = int(aging.pages is Pages.HUGE)
    line = f"load name=write-shared mib={aging.mib} window={WINDOW} seed={this.number} thp={huge}"
    ready = l2.answer(line, until="ready")
    frames = parse_frames(l2.command("where", until="where"))
    name, gva = l2.spec.name, int(ready["gva"], 16)
    l2.l1.call("aging.watch", name=name, ram_mib=aging.ram_mib, frames=frames, gva=gva, unit=aging.unit)
    if huge:
        flags = str(l2.l1.call("aging.flagged", name=name, flag="thp"))
        this.events["huge_pages"] = flags.count("1") * aging.unit // HUGE_PAGES
        this.require("huge_pages", aging.region_pages // HUGE_PAGES // 2)


def _touch(l2: L2, share: Share) -> None:
    l2.answer(f"start laps=1 {share.words}", until="stopped", timeout_s=TOUCH_S)


@contextmanager
def _driver_on(this: Measuring, l2: L2, aging: Aging) -> Iterator[None]:
    """Bring the driver to where its scans are all alike, and prove afterwards that it was at work."""
    name, call = l2.spec.name, l2.l1.call
    match aging.driver:
        case Driver.RECLAIM:
            # All pages are young from stamping, and are so at reclaim's first look at them.
            for number in range(WARM_UP):
                scan_reclaim(l2, aging, number)
        case Driver.MGLRU:
            this.facts["mglru.enabled"] = enabled = call("aging.mglru", on=True)
            if int(enabled, 16) & 3 != 3:
                this.invalidate(f"MGLRU is not on with page-table walks: it reads back {enabled}")
        case Driver.DAMON:
            aggregation_us = DAMON_SAMPLES * DAMON_SAMPLE_US
            call(
                "aging.damon_start",
                name=name,
                most=DAMON_PAGES,
                sample_us=DAMON_SAMPLE_US,
                aggregation_us=aggregation_us,
            )
    yield


def scan_page_idle(l2: L2, aging: Aging, number: int) -> Belief:
    """Mark all pages idle, touch, and look which still are (mm/page_idle.c)."""
    l2.l1.call("aging.mark", name=l2.spec.name)
    l2.l1.call("aging.move_vcpus", name=l2.spec.name, turn=number)
    _touch(l2, aging.share(number))
    return judge_idle(aging.judged(number), l2.l1.call("aging.idle", name=l2.spec.name)["idle"])


def scan_reclaim(l2: L2, aging: Aging, number: int) -> Belief:
    """Touch, and have fewer pages reclaimed than were not touched: who goes out was taken for idle."""
    wanted = aging.wanted_pages
    _touch(l2, aging.share(number))
    arguments = {"name": l2.spec.name, "wanted": wanted, "most_calls": RECLAIM_CALLS}
    seen = l2.l1.call("aging.reclaim", RECLAIM_S, **arguments)
    return judge_taken(aging.judged(number), seen["before"], seen["after"], wanted)


def scan_mglru(l2: L2, aging: Aging, number: int) -> Belief:
    """Two generations with touching between them; what is evicted then was taken for idle."""
    name, call = l2.spec.name, l2.l1.call
    call("aging.generation", name=name)
    call("aging.move_vcpus", name=name, turn=number)
    _touch(l2, aging.share(number))
    call("aging.generation", name=name)
    call("aging.evict", name=name)
    return judge_evicted(aging.judged(number), call("aging.swapped", name=name))


def scan_damon(l2: L2, aging: Aging, number: int) -> Belief:
    """Touch without a pause for one whole aggregation of DAMON's, and read what it saw."""
    l2.command(f"start {aging.share(number).words}", until="running")
    try:
        # The aggregation in which the touching began is not judged.
        l2.l1.call("aging.damon_watch", name=l2.spec.name, aggregations=2, move_every_s=DAMON_MOVE_S)
    finally:
        l2.answer("stop", until="stopped")
    return judge_samples(aging.judged(number), l2.l1.call("aging.damon_seen"), DAMON_SAMPLES)


SCANS: Mapping[Driver, Callable[[L2, Aging, int], Belief]] = {
    Driver.RECLAIM: scan_reclaim,
    Driver.PAGE_IDLE: scan_page_idle,
    Driver.MGLRU: scan_mglru,
    Driver.DAMON: scan_damon,
}


def _prove(this: Measuring, aging: Aging) -> None:
    """Both notifiers that age trace kvm_age_hva, the one that only looks kvm_test_age_hva (kvm_main.c)."""
    this.events[EVENT] = this.events.get("age_hva", 0)
    this.events["scans"] = aging.scans
    this.require("scans", LEAST_SCANS)
    this.require(EVENT, LEAST_AGED)
    if aging.driver is Driver.DAMON:
        this.require("test_age_hva", LEAST_AGED)


def _judge(this: Measuring, aging: Aging, belief: Belief) -> None:
    """Record the rates, and judge them against what a good kernel stays below by far."""
    this.events |= {
        "touched": belief.touched,
        "false_idle": belief.false_idle,
        "untouched": belief.untouched,
        "false_young": belief.false_young,
        "unknown": belief.unknown,
    }
    this.require("touched", aging.scans * 4)
    this.require("untouched", aging.scans * 4)
    idle, young, driver = belief.idle_rate, belief.young_rate, aging.driver
    too_idle = f"{idle:.0%} of the touched pages were taken for idle, at most {driver.most_false_idle:.0%}"
    too_young = (
        f"{young:.0%} of the untouched pages were taken for young, at most {driver.most_false_young:.0%}"
    )
    this.judge(idle <= driver.most_false_idle, f"{too_idle} is usual")
    this.judge(young <= driver.most_false_young, f"{too_young} is usual")
