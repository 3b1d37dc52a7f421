"""What a way to migrate is: which capabilities, how each hop goes, and what proves that it went so."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from guestloop.vm.argv import Incoming, L2Spec
from guestloop.workloads.measuring import Measuring
from guestloop.workloads.migration.hop import Hop

if TYPE_CHECKING:
    from guestloop.lab.client import L2
    from guestloop.workloads.migration.trip import Trip


class Way(ABC):
    """How a guest is migrated. One object each, without a state of its own.

    ``capabilities`` are QEMU's beside ``events``. ``hops``: how often the guest moves on. ``ring``: dirty
    pages are reported by the dirty ring. ``incoming``: what a destination does when all has arrived.
    """

    name: str
    capabilities: Sequence[str] = ("pause-before-switchover",)
    hops: int = 1
    ring: bool = False
    incoming: Incoming = Incoming.REST

    def fit(self, trip: Trip) -> Trip:
        """The figures of a cell, as this way needs them."""
        return trip

    def move(self, hop: Hop, trip: Trip, destination: L2Spec, stack: ExitStack) -> L2:
        """One hop; returns the guest where it now runs, which ends with ``stack``."""
        there = stack.enter_context(hop.l1.guest(destination))
        self.send(hop, trip, there)
        return there

    def send(self, hop: Hop, trip: Trip, destination: L2) -> None:
        """Dirty rounds while the load runs, then the switch-over."""
        self.hold(hop, trip, destination)
        hop.release()
        hop.switch_over()

    def hold(self, hop: Hop, trip: Trip, destination: L2) -> None:
        """Begin, and let the load keep the migration going for the rounds that the cell wants."""
        if trip.load.pinned:
            hop.pin()
        hop.prepare(destination, *self.capabilities)
        hop.dirty_rounds(trip.round_s, trip.held_rounds, may_end=not trip.round_s)

    def prove(self, this: Measuring, trip: Trip) -> None:
        """The round is invalid unless the migration was of this way."""
        this.require("pages_compared", trip.hops * trip.ram_mib * 256)
