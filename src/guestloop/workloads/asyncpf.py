# SPDX-License-Identifier: GPL-2.0-or-later
"""Async page faults: vCPUs read pages that L1 has paged out, so KVM faults them in beside the guest.

When a page has come back, ``kvm_arch_async_page_ready()`` (arch/x86/kvm/x86.c) maps it ahead of the
guest's next access. With two vCPUs waiting for the same page it does so twice, and the second time it
overwrites an SPTE that is already there: the one place where the patch under test shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from guestloop.agent.memory import Need
from guestloop.agent.settings import HUGE_PAGES
from guestloop.ground.errors import GuestloopError, GuestStuck, Lacking
from guestloop.results.findings import FindingKind
from guestloop.results.records import Work
from guestloop.vm.argv import L2Spec
from guestloop.workloads.measuring import Measuring
from guestloop.workloads.memory import check_contents, dirty_round
from guestloop.workloads.page_sizes import prove_huge, prove_small
from guestloop.workloads.reading import SPLIT, SWAP_WAITS, SWAPPED_IN, SWAPPED_WHOLE

if TYPE_CHECKING:
    from guestloop.lab.client import L1, L2

EVENT = "page_ready"
JUDGED = ("async_page_ready",)
# Flushes for pages that reclaim found young while the storm's pages were driven out: as many as it had to
# look at, which has nothing to do with the events. Cells of aging judge this path.
INCIDENTAL = ("clear_flush_young",)
LEAST_EVENTS = 500
PAGE_OUT_S = 20.0
DIRTY_ROUNDS = 2  # of a second each, in each lap
# Reads of L1's swap disk per second: a page takes some milliseconds to come, whatever L0's disk is.
THROTTLED_READS = 250


class Load(StrEnum):
    """What the vCPUs do; the payload in L2 knows them by these names."""

    READ_SHARED = "read-shared"
    READ_OWN = "read-own"
    WRITE_SHARED = "write-shared"


class Way(StrEnum):
    """How pages go out and come back."""

    PAGEOUT = "pageout"  # MADV_PAGEOUT on small pages
    PRESSURE = "pressure"  # L1 reclaims from the guest's memory cgroup
    THROTTLED = "throttled"  # L0 throttles the reads of L1's swap disk
    THP = "thp"  # L2's RAM is huge pages in L1 at first, which are paged out whole or split
    DIRTY_LOG = "dirty-log"  # dirty rounds complete during the storm, as in a migration


AXES: Mapping[str, tuple[str, ...]] = {
    "load": tuple(Load),
    "way": tuple(Way),
    "vcpus": ("4", "2"),
    "kvmapf": ("on", "off"),
}


@dataclass(frozen=True)
class Storm:
    """How hard. Each cycle pages L2's RAM out while its vCPUs rest, and then has each of them go once
    over ``mib`` MiB; ``ram_mib`` is the guest's RAM. In a shared load no vCPU gets more than ``window``
    pages ahead.

    More vCPUs than L1 has CPUs make it likely that one of them has touched a page before the last ready
    event for it is handled, which is the case of interest (docs/method-asyncpf.md). ``kvmapf``: the guest
    uses the paravirtual interface; without it KVM halts the vCPU until the page is there.
    """

    load: Load = Load.READ_SHARED
    way: Way = Way.PAGEOUT
    vcpus: int = 4
    kvmapf: bool = True
    mib: int = 4
    ram_mib: int = 96
    window: int = 16
    cycles: int = 2

    def guest(self, name: str) -> L2Spec:
        """The L2 that this storm needs."""
        return L2Spec(name, memory_mib=self.ram_mib, vcpus=self.vcpus, kvmapf=self.kvmapf)


def storm_of(variant: Mapping[str, str], scale: int = 1) -> Storm:
    """The figures of a cell; ``scale`` is that of the run (results/sizes.py)."""
    storm = Storm(
        load=Load(variant["load"]),
        way=Way(variant["way"]),
        vcpus=int(variant["vcpus"]),
        kvmapf=variant["kvmapf"] == "on",
    )
    return replace(storm, mib=storm.mib * scale, ram_mib=storm.ram_mib * scale)


@contextmanager
def prepared(l1: L1, storm: Storm) -> Iterator[None]:
    """L1 as the storm needs it, and back again after it. Raises Lacking when it lacks something."""
    huge = storm.way is Way.THP
    needs = [Need.MEMCG, Need.SWAP, Need.READ_AHEAD, *([Need.THP] if huge else [])]
    if lacks := l1.agent.memory.lacks(needs):
        raise Lacking(lacks)
    with l1.changed(HUGE_PAGES if huge else {}), _throttled(l1, storm):
        yield


@contextmanager
def _throttled(l1: L1, storm: Storm) -> Iterator[None]:
    """Have the swap disk slow where the way asks for it."""
    if storm.way is not Way.THROTTLED:
        yield
        return
    l1.throttle_swap(THROTTLED_READS)
    try:
        yield
    finally:
        with suppress(GuestloopError):  # an L1 that is gone needs no swap disk
            l1.throttle_swap(0)


@dataclass
class Tally:
    """What the load reported at the end of its laps, summed, and dirty rounds that completed meanwhile."""

    reads: int = 0
    writes: int = 0
    bad: int = 0
    dirty_rounds: int = 0

    def add(self, stopped: Mapping[str, str]) -> None:
        self.reads += int(stopped["reads"])
        self.writes += int(stopped["writes"])
        self.bad += int(stopped["bad"])


def measure(this: Measuring, l1: L1) -> None:
    """One round of the cell: fills in ``this``. The guest has ended when this returns."""
    storm = storm_of(this.cell.variant, l1.sizes.scale)
    with prepared(l1, storm), l1.guest(storm.guest("storm")) as l2:
        run(this, l2, storm)


def run(this: Measuring, l2: L2, storm: Storm) -> None:
    """Stamp, storm, check."""
    this.event, this.judged, this.incidental = EVENT, JUDGED, INCIDENTAL
    this.facts |= {"l2.kvmapf": l2.hello.get("kvmapf", "?"), "l2.start_s": f"{l2.start_seconds:.1f}"}
    if this.facts["l2.kvmapf"] != f"{int(storm.kvmapf)}":
        text = f"paravirtual async page faults: {this.facts['l2.kvmapf']} in L2, not as asked for"
        this.find(FindingKind.NOT_PROVEN, text)
    options = f"mib={storm.mib} window={storm.window} seed={this.seed} thp={int(storm.way is Way.THP)}"
    l2.command(f"load name={storm.load} {options}", until="ready")
    if storm.way is Way.THP:
        prove_huge(this, l2, storm.mib // 2)
    else:
        prove_small(this, l2)
    tally, stuck = Tally(), None
    with this.counting(l2, "storm"):
        try:
            for _ in range(storm.cycles):
                l2.page_out(PAGE_OUT_S, pressure=storm.way is Way.PRESSURE)
                _lap(l2, storm, tally)
        except GuestStuck as error:
            stuck = error
    if stuck:
        this.fault(stuck)
        return
    _prove(this, storm, tally)
    this.judge(tally.bad == 0, FindingKind.CONTENTS, f"{tally.bad} reads during the storm saw wrong data")
    check_contents(this, l2)


def _lap(l2: L2, storm: Storm, tally: Tally) -> None:
    """Each vCPU goes once over its pages. One that never gets there is found by the agent (liveness)."""
    l2.command("start laps=1", until="running")
    if storm.way is Way.DIRTY_LOG:
        for _ in range(DIRTY_ROUNDS):
            dirty_round(l2)
            tally.dirty_rounds += 1
    tally.add(l2.finish_lap())


def _prove(this: Measuring, storm: Storm, tally: Tally) -> None:
    this.events["reads"] = tally.reads
    this.add_work(Work.VISITED, tally.reads)
    this.add_work(Work.DIRTIED, tally.writes)
    _prove_events(this)
    this.require(SWAPPED_IN, LEAST_EVENTS)
    this.require("reads", LEAST_EVENTS)
    if storm.way is Way.THP:
        # Paged out whole (folio_alloc_swap() of a large folio) or in pieces, as the kernel likes.
        parts = (this.events.get(event, 0) for event in (SWAPPED_WHOLE, SPLIT))
        this.events["huge_pages_paged_out"] = sum(parts)
        this.require("huge_pages_paged_out", storm.mib // 2)
    if storm.way is Way.DIRTY_LOG:
        this.events["dirty_rounds"] = tally.dirty_rounds
        this.require("dirty_rounds", storm.cycles)


def _prove_events(this: Measuring) -> None:
    """Page-ready events must have happened, unless the kernel waits for its swap in each fault.

    Then a page that nobody else waits for comes back without an asynchronous fault: the kernel lacks what
    the cell is about, whatever its KVM does.
    """
    seen, waited = this.events.get(EVENT, 0), this.events.get(SWAP_WAITS, 0)
    if seen >= LEAST_EVENTS or waited <= this.events.get(SWAPPED_IN, 0) // 2:
        this.require(EVENT, LEAST_EVENTS)
        return
    what = f"L1's kernel reads swap while a fault waits (mm/swap_state.c: do_poll): {waited} pages"
    this.find(FindingKind.LACKING, f"{what}, and {seen} page-ready events, at least {LEAST_EVENTS} needed")
