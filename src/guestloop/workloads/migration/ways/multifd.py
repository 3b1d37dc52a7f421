# SPDX-License-Identifier: GPL-2.0-or-later
"""Precopy over several connections."""

from __future__ import annotations

from guestloop.workloads.measuring import Measuring
from guestloop.workloads.migration.trip import Trip, Way


class Multifd(Way):
    """Pages go over channels of their own (docs of QEMU: multifd)."""

    name = "multifd"
    capabilities = ("pause-before-switchover", "multifd")

    def prove(self, this: Measuring, trip: Trip) -> None:
        """Bytes went over the channels, and there were at least three connections."""
        super().prove(this, trip)
        this.require("multifd_bytes", 1)
        this.require("connections", 3)
