# SPDX-License-Identifier: GPL-2.0-or-later
"""One round: load, migrate as often as the way asks for, judge, and prove that it was that way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from guestloop.ground.errors import GuestloopError, Lacking
from guestloop.ground.units import HUGE_PAGE, MIB
from guestloop.results.findings import FindingKind
from guestloop.results.records import Work
from guestloop.vm.argv import L2Spec
from guestloop.workloads.measuring import Measuring
from guestloop.workloads.memory import check_contents
from guestloop.workloads.migration import oracles
from guestloop.workloads.migration.cells import trip_of
from guestloop.workloads.migration.hop import JUDGED, Hop
from guestloop.workloads.migration.trip import Pages, Trip
from guestloop.workloads.page_sizes import prove_huge, prove_small

if TYPE_CHECKING:
    from guestloop.lab.client import L1, L2

NAMES = "abcd"  # of the guest at each stop of its trip


def measure(this: Measuring, l1: L1) -> None:
    """One round of the cell: fills in ``this``. All guests have ended when this returns."""
    run(this, l1, trip_of(this.cell, l1.sizes.scale))


def run(this: Measuring, l1: L1, trip: Trip) -> None:
    """Load, migrate as often as the way asks for, judge: fills in the round."""
    if lacks := l1.agent.memory.lacks(trip.needs):
        raise Lacking(lacks)
    if trip.way.ring and (refused := l1.agent.kvm.ring_limits().refuse(trip.ring_entries)):
        raise Lacking(refused)
    this.event, this.judged, this.work_unit = trip.event, JUDGED, trip.work
    with ExitStack() as stack:
        if trip.pages is Pages.HUGE:
            stack.enter_context(huge_pages(l1, (trip.hops + 1) * trip.ram_mib * MIB // HUGE_PAGE))
        for source in NAMES[: trip.hops]:  # all now: later they would be counted with a hop
            l1.launch(destination_of(trip, source))
        guest = stack.enter_context(l1.guest(trip.guest("a")))
        layout = start_load(this, guest, trip)
        areas = oracles.read_areas(guest)
        for number in range(1, trip.hops + 1):
            hop = Hop(this, guest, layout, areas, f"hop{number}." if trip.hops > 1 else "")
            with evidence(this, l1):
                guest = trip.way.move(hop, trip, destination_of(trip, guest.spec.name), stack)
                hop.conclude()
            this.add_work(Work.MIGRATED, 1)
        finish_load(this, guest)
        if trip.pages is Pages.SMALL:
            prove_small(this, guest)
    prove(this, trip)


def start_load(this: Measuring, guest: L2, trip: Trip) -> oracles.Layout:
    """Have the payload stamp its pages, check them, and start the load."""
    thp = int(trip.pages is Pages.HUGE)
    words = f"name={trip.load} mib={trip.mib} seed={this.seed} thp={thp}"
    ready = guest.answer(f"load {words} window={trip.window} pace_us={trip.pace_us}", "ready")
    check_contents(this, guest, "before the migration")
    if trip.pages is Pages.HUGE:
        prove_huge(this, guest, trip.ram_mib * MIB // HUGE_PAGE)
    else:
        prove_small(this, guest)
    guest.command("start report_ms=100", until="running")
    return oracles.Layout(int(ready["gva"], 16), int(ready["pages"]), trip.vcpus, this.number)


def destination_of(trip: Trip, source: str) -> L2Spec:
    """Where a hop goes to: from ``a`` to ``b``, and on.

    Sources stay until the round ends. A destination that got their memory had to have all of the emulator's
    translations of the code in it dropped, and took twice as long for its first dirty round.
    """
    return trip.guest(NAMES[NAMES.index(source) + 1], trip.way.incoming)


@contextmanager
def evidence(this: Measuring, l1: L1) -> Iterator[None]:
    """When the body fails, keep what both QEMUs still tell."""
    try:
        yield
    except GuestloopError:
        with suppress(GuestloopError):
            this.keep("qemu.json", json.dumps(l1.agent.migration.evidence(), indent=1))
        raise


@contextmanager
def huge_pages(l1: L1, pages: int) -> Iterator[None]:
    """A pool of 2 MiB pages. Raises Lacking when L1's memory does not yield them."""
    have = l1.agent.migration.huge_pages(pages)
    try:
        if have < pages:
            raise Lacking(f"L1 has memory for {have} huge pages of 2 MiB, {pages} are needed")
        yield
    finally:
        with suppress(GuestloopError):  # an L1 that is gone has no pool
            l1.agent.migration.huge_pages(0)


def finish_load(this: Measuring, guest: L2) -> None:
    """Stop the load and have the payload check every word of every page."""
    stopped = guest.answer("stop", "stopped")
    this.events["visits"] = int(stopped["reads"])
    what = f"the load itself saw {stopped['bad']} wrong pages"
    this.judge(int(stopped["bad"]) == 0, FindingKind.CONTENTS, what)
    check_contents(this, guest, "after the migration")


def prove(this: Measuring, trip: Trip) -> None:
    """The round is invalid unless the migration was the one that the cell names."""
    this.require(this.event, 1)
    this.require("dirty_pages", 16 * 3 * trip.hops)
    this.require("dirty_rounds", 3 * trip.hops)
    if trip.round_s:
        this.require("redirtied_least", 16)
    trip.way.prove(this, trip)
