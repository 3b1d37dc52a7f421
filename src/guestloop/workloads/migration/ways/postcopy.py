# SPDX-License-Identifier: GPL-2.0-or-later
"""Postcopy: the destination runs before its memory has come, and fetches what it touches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestloop.agent.memory import Need
from guestloop.results.records import Work
from guestloop.vm.argv import Incoming
from guestloop.workloads.measuring import Measuring
from guestloop.workloads.migration.hop import Hop
from guestloop.workloads.migration.trip import Trip, Way

if TYPE_CHECKING:
    from guestloop.lab.client import L2


class Postcopy(Way):
    """Dirty rounds first, so that there is something to lose, then the switch to postcopy.

    The RAM files differ by nature, as the destination runs on: the guest's stamps and the ledger judge.
    """

    name = "postcopy"
    needs = (Need.USERFAULTFD,)
    capabilities = ("postcopy-ram",)
    work = Work.MIGRATED  # what the destination writes costs the source no flush
    incoming = Incoming.RUN

    def send(self, hop: Hop, trip: Trip, destination: L2) -> None:
        """Dirty rounds, then postcopy until all is there."""
        self.hold(hop, trip, destination)
        hop.enter_postcopy()

    def prove(self, this: Measuring, trip: Trip) -> None:  # noqa: ARG002
        """Postcopy was entered, and the destination asked for pages."""
        this.require("postcopy_entered", 1)
        this.require("page_requests", 5)
