# SPDX-License-Identifier: GPL-2.0-or-later
"""Precopy with KVM's dirty ring (Documentation/virt/kvm/api.rst, KVM_CAP_DIRTY_LOG_RING)."""

from __future__ import annotations

from dataclasses import replace

from guestloop.ground.units import MIB, PAGE
from guestloop.workloads.measuring import Measuring
from guestloop.workloads.migration.trip import Trip, Way

RING_PACE_US = 200
USUAL_ENTRIES = 1024
"""What QEMU recommends as the least; KVM takes it with page-modification logging too."""


class DirtyRing(Way):
    """Each vCPU reports its dirty pages in a ring, and leaves the guest when that is full.

    One with fewer ``entries`` than the load has pages is full again and again. A larger one never is: it is
    emptied each second (QEMU, accel/kvm/kvm-all.c: kvm_dirty_ring_reaper_thread) and when the log is synced.
    """

    ring = True

    def __init__(self, entries: int = USUAL_ENTRIES) -> None:
        self.entries = entries
        self.is_everywhere = entries == USUAL_ENTRIES
        self.name = "dirty-ring" if self.is_everywhere else f"dirty-ring-{entries}"

    def fit(self, trip: Trip) -> Trip:
        """A faster load: QEMU empties the rings each second, and one must have been full before."""
        return replace(trip, pace_us=min(trip.pace_us, RING_PACE_US), ring_entries=self.entries)

    def prove(self, this: Measuring, trip: Trip) -> None:
        """Pages went through rings, and one that can be full was so at least once."""
        super().prove(this, trip)
        this.require("dirty_ring_pages", 1)
        if self.entries < trip.mib * MIB // PAGE:
            this.require("dirty_ring_exits", 1)
