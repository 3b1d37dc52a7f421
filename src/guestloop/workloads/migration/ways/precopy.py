# SPDX-License-Identifier: GPL-2.0-or-later
"""Precopy with KVM's dirty bitmap."""

from __future__ import annotations

from guestloop.workloads.migration.trip import Way


class Precopy(Way):
    """The usual way: dirty rounds, then the rest with the guest stopped."""

    name = "precopy"
