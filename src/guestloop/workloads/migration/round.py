"""One round: load, migrate as often as the way asks for, judge, and prove that it was that way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from guestloop.ground.errors import GuestloopError
from guestloop.lab.client import L1, L2
from guestloop.vm.argv import Incoming, L2Spec
from guestloop.workloads.measuring import Lacking, Measuring
from guestloop.workloads.migration import oracles
from guestloop.workloads.migration.hop import JUDGED, Hop
from guestloop.workloads.migration.trip import Load, Pages, Trip, Way

CHECK_S = 60.0
HUGE_PAGE_MIB = 2
NAMES = "abcd"  # of the guest at each stop of its trip


def run(this: Measuring, l1: L1, trip: Trip) -> None:
    """Load, migrate as often as the way asks for, judge: fills in the round."""
    this.event, this.judged = trip.event, JUDGED
    with ExitStack() as stack:
        if trip.pages is Pages.HUGE:
            stack.enter_context(huge_pages(l1, (trip.hops + 1) * trip.ram_mib // HUGE_PAGE_MIB))
        for source in NAMES[: trip.hops]:  # all now: later they would be counted with a hop
            l1.launch(destination_of(trip, source))
        guest = stack.enter_context(l1.guest(trip.guest("a")))
        layout = start_load(this, guest, trip)
        areas = oracles.read_areas(guest)
        for number in range(1, trip.hops + 1):
            hop = Hop(this, guest, layout, areas, f"hop{number}." if trip.hops > 1 else "")
            with evidence(this, l1):
                guest = migrate(hop, trip, stack)
        finish_load(this, guest)
    prove(this, trip)


def start_load(this: Measuring, guest: L2, trip: Trip) -> oracles.Layout:
    """Have the payload stamp its pages, check them, and start the load."""
    thp = int(trip.pages is Pages.HUGE)
    words = f"name={trip.load} mib={trip.mib} seed={this.number} thp={thp}"
    ready = guest.answer(f"load {words} window={trip.window} pace_us={trip.pace_us}", "ready", CHECK_S)
    oracles.check_stamps(this, guest, "before the migration")
    guest.command("start report_ms=100", until="running")
    return oracles.Layout(int(ready["gva"], 16), int(ready["pages"]), trip.vcpus, this.number)


def destination_of(trip: Trip, source: str) -> L2Spec:
    """Where a hop goes to: from ``a`` to ``b``, and on.

    Sources stay until the round ends. A destination that got their memory had to have all of the emulator's
    translations of the code in it dropped, and took twice as long for its first dirty round.
    """
    return trip.guest(
        NAMES[NAMES.index(source) + 1], Incoming.RUN if trip.way is Way.POSTCOPY else Incoming.REST
    )


def migrate(hop: Hop, trip: Trip, stack: ExitStack) -> L2:
    """One hop by the cell's way; gives the guest where it now runs."""
    spec = destination_of(trip, hop.source.spec.name)
    if trip.way is Way.CANCEL:
        with hop.l1.guest(spec) as destination:
            _cancel(hop, trip, destination)
    destination = stack.enter_context(hop.l1.guest(spec))
    (_postcopy if trip.way is Way.POSTCOPY else _precopy)(hop, trip, destination)
    hop.conclude()
    return destination


def _precopy(hop: Hop, trip: Trip, destination: L2) -> None:
    if trip.load is Load.LINGER:
        hop.pin()
    more = ["multifd"] if trip.way is Way.MULTIFD else []
    hop.prepare(destination, "pause-before-switchover", *more)
    hop.dirty_rounds(trip.round_s, trip.held_rounds, may_end=not trip.round_s)
    hop.release()
    hop.switch_over()


def _postcopy(hop: Hop, trip: Trip, destination: L2) -> None:
    hop.prepare(destination, "postcopy-ram")
    hop.dirty_rounds(trip.round_s, trip.held_rounds, may_end=not trip.round_s)
    hop.enter_postcopy()


def _cancel(hop: Hop, trip: Trip, destination: L2) -> None:
    hop.prepare(destination, "pause-before-switchover")
    hop.dirty_rounds(trip.round_s, trip.held_rounds, may_end=not trip.round_s)
    hop.cancel()


@contextmanager
def evidence(this: Measuring, l1: L1) -> Iterator[None]:
    """When the body fails, keep what both QEMUs still tell."""
    try:
        yield
    except GuestloopError:
        with suppress(GuestloopError):
            this.keep("qemu.json", json.dumps(l1.call("migration.evidence"), indent=1))
        raise


@contextmanager
def huge_pages(l1: L1, pages: int) -> Iterator[None]:
    """A pool of 2 MiB pages. Raises Lacking when L1's memory does not yield them."""
    have = l1.call("migration.huge_pages", pages=pages)
    try:
        if have < pages:
            raise Lacking(f"L1 gives {have} huge pages of 2 MiB, {pages} are needed")
        yield
    finally:
        l1.call("migration.huge_pages", pages=0)


def finish_load(this: Measuring, guest: L2) -> None:
    """Stop the load and have the payload check every word of every page."""
    stopped = guest.answer("stop", "stopped", CHECK_S)
    this.events["visits"] = int(stopped["reads"])
    this.judge(int(stopped["bad"]) == 0, f"the load itself saw {stopped['bad']} wrong pages")
    oracles.check_stamps(this, guest, "after the migration")


def prove(this: Measuring, trip: Trip) -> None:
    """The round is invalid unless the migration was the one that the cell names."""
    this.require(this.event, 1)
    this.require("dirty_pages", 16 * 3 * trip.hops)
    this.require("dirty_rounds", 3 * trip.hops)
    if trip.round_s:
        this.require("redirtied_least", 16)
    this.require("pages_compared", 0 if trip.way is Way.POSTCOPY else trip.hops * trip.ram_mib * 256)
    match trip.way:
        case Way.MULTIFD:
            this.require("multifd_bytes", 1)
            this.require("connections", 3)
        case Way.RING:
            this.require("dirty_ring_exits", 1)
            this.require("dirty_ring_pages", 1)
        case Way.POSTCOPY:
            this.require("postcopy_entered", 1)
            this.require("page_requests", 5)
        case Way.CANCEL:
            this.require("cancelled", 1)
