# SPDX-License-Identifier: GPL-2.0-or-later
"""A migration that is cancelled while the guest runs, and a second one that is not."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from guestloop.vm.argv import L2Spec
from guestloop.workloads.measuring import Measuring
from guestloop.workloads.migration.hop import Hop
from guestloop.workloads.migration.trip import Trip, Way

if TYPE_CHECKING:
    from guestloop.lab.client import L2


class CancelRetry(Way):
    """Dirty logging goes on, off and on again; what the first try has sent is worth nothing."""

    name = "cancel-retry"

    def move(self, hop: Hop, trip: Trip, destination: L2Spec, stack: ExitStack) -> L2:
        """A first destination is given up; the second one is the guest's."""
        with hop.l1.guest(destination) as first:
            self.hold(hop, trip, first)
            hop.cancel()
        return super().move(hop, trip, destination, stack)

    def prove(self, this: Measuring, trip: Trip) -> None:
        """The first try was cancelled."""
        super().prove(this, trip)
        this.require("cancelled", 1)
