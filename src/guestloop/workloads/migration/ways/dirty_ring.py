# SPDX-License-Identifier: GPL-2.0-or-later
"""Precopy with KVM's dirty ring (Documentation/virt/kvm/api.rst, KVM_CAP_DIRTY_LOG_RING)."""

from __future__ import annotations

from dataclasses import replace

from guestloop.workloads.measuring import Measuring
from guestloop.workloads.migration.trip import Trip, Way

RING_PACE_US = 200


class DirtyRing(Way):
    """Each vCPU reports its dirty pages in a ring, and leaves the guest when that is full."""

    name = "dirty-ring"
    ring = True

    def fit(self, trip: Trip) -> Trip:
        """A faster load: QEMU empties the rings each second, and one must have been full before."""
        return replace(trip, pace_us=min(trip.pace_us, RING_PACE_US))

    def prove(self, this: Measuring, trip: Trip) -> None:
        """Pages went through rings, and a ring was full at least once."""
        super().prove(this, trip)
        this.require("dirty_ring_exits", 1)
        this.require("dirty_ring_pages", 1)
