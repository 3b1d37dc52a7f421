# SPDX-License-Identifier: GPL-2.0-or-later
"""One round of aging: stamp, scan, check."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from guestloop.agent.memory import Need
from guestloop.agent.pages import Flag
from guestloop.agent.settings import HUGE_PAGES
from guestloop.ground.errors import Lacking
from guestloop.ground.units import PAGES_PER_HUGE_PAGE
from guestloop.results.findings import FindingKind
from guestloop.results.records import Work
from guestloop.workloads.aging.beliefs import Belief, parse_frames
from guestloop.workloads.aging.cells import scene_of
from guestloop.workloads.aging.driver import EVENT, DirtyLog, Driver, Pages, Scan, Scene
from guestloop.workloads.measuring import Measuring
from guestloop.workloads.memory import check_contents, prove_dirty_log, start_dirty_log
from guestloop.workloads.page_sizes import prove_small

if TYPE_CHECKING:
    from guestloop.lab.client import L1, L2

JUDGED = ("clear_flush_young", "clear_young")
LEAST_SCANS = 3
LEAST_AGED = 1000
# No lockstep: each vCPU goes over the pages as fast as it can.
WINDOW = 4096


def measure(this: Measuring, l1: L1) -> None:
    """One round of the cell: fills in ``this``. The guest has ended when this returns."""
    scene = scene_of(this.cell.variant, l1.sizes.scale)
    with prepared(l1, scene), l1.guest(scene.guest("aging")) as l2:
        run(this, l2, scene)


@contextmanager
def prepared(l1: L1, scene: Scene) -> Iterator[None]:
    """L1 with the huge pages that the cell needs. Raises Lacking for what L1 lacks."""
    huge = [Need.THP] if scene.pages is Pages.HUGE else []
    needs = [Need.MEMCG, Need.PAGE_MONITOR, *scene.driver.needs, *huge]
    reasons = [l1.agent.memory.lacks(needs), scene.driver.lacks(l1.agent)]
    if lacks := "; ".join(reason for reason in reasons if reason):
        raise Lacking(lacks)
    with l1.changed(HUGE_PAGES if scene.pages is Pages.HUGE else {}):
        yield


def run(this: Measuring, l2: L2, scene: Scene) -> None:
    """Stamp, scan, check."""
    this.event, this.judged, this.work_unit, driver = EVENT, JUDGED, Work.SCANNED, scene.driver
    driver.settle(l2)
    load(this, l2, scene)
    if scene.dirty_log is DirtyLog.ON:
        start_dirty_log(this, l2)
    first, seconds = Scan(this, l2, scene), []
    beliefs: list[Belief] = []
    with driver.running(first), this.counting(l2, "scans"):
        for number in range(1, scene.sizes.scans + 1):
            started = time.monotonic()
            beliefs.append(driver.scan(replace(first, number=number, counted=True)))
            seconds.append(f"{time.monotonic() - started:.2f}")
    this.facts["scan_seconds"] = " ".join(seconds)
    if scene.dirty_log is DirtyLog.ON:
        prove_dirty_log(this, l2)
    prove(this, scene)
    judge(this, scene, sum_of_acted(this, driver, beliefs))
    check_contents(this, l2)


def sum_of_acted(this: Measuring, driver: Driver, beliefs: Sequence[Belief]) -> Belief:
    """The sum over the scans in which the driver acted; the round is invalid when only some did.

    If it acted in none, all count: a kernel to which every page is young keeps each driver from acting.
    """
    acted = [belief for belief in beliefs if driver.acted(belief)]
    if acted and len(acted) < len(beliefs):
        idle = len(beliefs) - len(acted)
        text = f"{driver.name} took no page at all in {idle} of {len(beliefs)} scans, whatever their use"
        this.find(FindingKind.NOT_PROVEN, text)
    return sum(acted or beliefs, Belief())


def load(this: Measuring, l2: L2, scene: Scene) -> None:
    """Load the region and have the agent find its pages."""
    huge = scene.pages is Pages.HUGE
    sizes, regions = scene.sizes, l2.l1.agent.regions
    line = f"load name=write-shared mib={sizes.mib} window={WINDOW} seed={this.seed} thp={int(huge)}"
    ready = l2.answer(line, until="ready")
    frames = parse_frames(l2.command("where", until="where"))
    regions.watch(l2.spec.name, sizes.ram_mib, frames, int(ready["gva"], 16), sizes.unit)
    if huge:
        flags = regions.flagged(l2.spec.name, Flag.THP)
        this.events["huge_pages"] = flags.count("1") * sizes.unit // PAGES_PER_HUGE_PAGE
        this.require("huge_pages", scene.region_pages // PAGES_PER_HUGE_PAGE // 2)
    else:
        prove_small(this, l2)


def prove(this: Measuring, scene: Scene) -> None:
    """Both notifiers that age trace kvm_age_hva (virt/kvm/kvm_main.c)."""
    this.events[EVENT] = this.events.get("age_hva", 0)
    this.events["scans"] = scene.sizes.scans
    for event, least in {"scans": LEAST_SCANS, EVENT: LEAST_AGED, **scene.driver.least_events}.items():
        this.require(event, least)


def judge(this: Measuring, scene: Scene, belief: Belief) -> None:
    """Record the rates, and judge them against what a good kernel stays below by far."""
    this.add_work(Work.SCANNED, scene.driver.scanned(belief, this.events))
    this.events |= {
        "touched": belief.touched,
        "false_idle": belief.false_idle,
        "untouched": belief.untouched,
        "false_young": belief.false_young,
        "unknown": belief.unknown,
    }
    this.require("touched", scene.sizes.scans * 4)
    this.require("untouched", scene.sizes.scans * 4)
    driver = scene.driver
    idle, young = belief.idle_rate, belief.young_rate
    too_idle = f"{idle:.0%} of the touched pages were taken for idle, at most {driver.most_false_idle:.0%}"
    too_young = (
        f"{young:.0%} of the untouched pages were taken for young, at most {driver.most_false_young:.0%}"
    )
    this.judge(idle <= driver.most_false_idle, FindingKind.RATES, f"{too_idle} is usual")
    this.judge(young <= driver.most_false_young, FindingKind.RATES, f"{too_young} is usual")
