# SPDX-License-Identifier: GPL-2.0-or-later
"""Three migrations one after the other."""

from __future__ import annotations

from dataclasses import replace

from guestloop.workloads.migration.trip import Trip, Way


class PingPong(Way):
    """The guest moves on and on: what is lost on one hop is found on the next."""

    name = "ping-pong"
    hops = 3

    def fit(self, trip: Trip) -> Trip:
        """Three hops in the time of a round: a smaller and calmer guest."""
        pace_us = max(trip.pace_us, 1000) if trip.pace_us else 0
        return replace(trip, mib=min(trip.mib, 8), ram_mib=56, pace_us=pace_us)
