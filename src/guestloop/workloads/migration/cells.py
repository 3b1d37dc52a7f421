# SPDX-License-Identifier: GPL-2.0-or-later
"""The cells of migration: what is loaded, how it is migrated, and the figures of each."""

from __future__ import annotations

from dataclasses import replace

from guestloop.results.cells import Cell
from guestloop.workloads.migration.trip import Load, Pages, Trip
from guestloop.workloads.migration.ways import WAYS

# Each is a chance that pages are write-protected and sent while the vCPU goes on writing to them. On good
# kernels all migrations reach so many; without a limit they ended after 8 to 42, and flushes followed that.
LINGERING_ROUNDS = 8

AXES = {"load": tuple(Load), "way": tuple(WAYS), "pages": tuple(Pages), "vcpus": ("2", "1", "4")}


def trip_of(cell: Cell, scale: int = 1) -> Trip:
    """The figures of a cell; ``scale`` is that of the run (results/sizes.py)."""
    variant = cell.variant
    load, way = Load(variant["load"]), WAYS[variant["way"]]
    trip = Trip(load, way, Pages(variant["pages"]), int(variant["vcpus"]))
    if load in (Load.SWEEP, Load.CHAIN, Load.MIX):
        trip = replace(trip, pace_us=500)
    if load is Load.ONCE:  # must not be through with its pages before the dirty rounds are
        trip = replace(trip, pace_us=2000)
    if load is Load.LINGER:
        trip = replace(trip, round_s=0.0, held_rounds=LINGERING_ROUNDS)
    if load is Load.HOT:
        trip = replace(trip, mib=4)
    return way.fit(trip).scaled(scale)
