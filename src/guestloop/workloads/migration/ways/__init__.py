# SPDX-License-Identifier: GPL-2.0-or-later
"""The ways to migrate, by the name that cells call them by; the first is the usual one."""

from collections.abc import Mapping

from guestloop.workloads.migration.trip import Way
from guestloop.workloads.migration.ways.cancel_retry import CancelRetry
from guestloop.workloads.migration.ways.dirty_ring import DirtyRing
from guestloop.workloads.migration.ways.multifd import Multifd
from guestloop.workloads.migration.ways.ping_pong import PingPong
from guestloop.workloads.migration.ways.postcopy import Postcopy
from guestloop.workloads.migration.ways.precopy import Precopy

ALL = (
    *(Precopy(), DirtyRing(), Multifd(), Postcopy(), CancelRetry(), PingPong()),
    DirtyRing(256),  # refused with page-modification logging, whose pages need more room
    DirtyRing(8192),
)

WAYS: Mapping[str, Way] = {way.name: way for way in ALL}
