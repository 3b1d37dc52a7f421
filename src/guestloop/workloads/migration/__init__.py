# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrate an L2 while it dirties its memory; not a page may be lost, and every flush is accounted for.

Judged by two oracles: with the source stopped and the destination not yet started, both RAM files are
compared byte by byte; and what each vCPU had done, told through the guest's port, is compared with what
the destination holds, whose payload checks every stamp. See docs/method-migration.md.
"""

from guestloop.workloads.migration.cells import AXES, trip_of
from guestloop.workloads.migration.round import measure, run
from guestloop.workloads.migration.trip import Load, Trip
from guestloop.workloads.migration.ways import WAYS

__all__ = ["AXES", "WAYS", "Load", "Trip", "measure", "run", "trip_of"]
