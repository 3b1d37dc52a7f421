# SPDX-License-Identifier: GPL-2.0-or-later
"""Differences between two readings of the same counters."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

from guestloop.ground.errors import LabError

Name = TypeVar("Name", bound=Hashable)

FLUSH_REQUESTS = "remote_tlb_flush_requests"
"""Calls of ``kvm_flush_remote_tlbs()`` (virt/kvm/kvm_main.c), whether or not a vCPU had to be kicked."""


def diff(before: Mapping[Name, int], after: Mapping[Name, int]) -> dict[Name, int]:
    """Return by how much each counter grew. vCPU counters are sums over all vCPUs.

    A counter that is only in ``after`` started at 0. (KVM creates no counter late, but a call path
    appears when it is first taken.) Raises LabError if a counter vanished or decreased: the readings
    are then not of the same VM, or it was reset in between, and a difference would be meaningless.
    """
    if vanished := sorted(map(str, before.keys() - after.keys())):
        raise LabError(
            f"counters vanished between two readings: {', '.join(vanished)}",
            hint="did the VM end, or was KVM reloaded, between the readings?",
        )
    moved = {name: value - before.get(name, 0) for name, value in after.items()}
    if backwards := [name for name, by in moved.items() if by < 0]:
        seen = ", ".join(f"{name} {before[name]} -> {after[name]}" for name in sorted(backwards, key=str))
        raise LabError(
            f"counters went backwards: {seen}",
            hint="the readings are not of the same VM, or the statistics were reset in between",
        )
    return moved
