# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM's statistics of one L2, from QEMU's ``query-stats`` (QEMU 7.1 and later)."""

from __future__ import annotations

from typing import Any

from guestloop.agent.guest import Guest
from guestloop.ground.errors import GuestError

Names = dict[str, set[str]]
"""Names of the counters that only ever grow, by target."""


def read_counters(guest: Guest, names: Names | None = None) -> dict[str, int]:
    """Every cumulative counter of KVM: of the VM as it is, of the vCPUs summed over them.

    A name that both have is the VM's. Instantaneous gauges (``pages_4k``) and histograms are left
    out. ``names`` are those of ``counter_names``, for callers that read often. Raises GuestError when QEMU
    returns none: not measurable is not zero.
    """
    cumulative = names or counter_names(guest)
    vcpus = _sums(guest.execute("query-stats", target="vcpu"), cumulative["vcpu"])
    # The flush requests are the VM's and are compared with the histogram that is read next.
    vm = _sums(guest.execute("query-stats", target="vm"), cumulative["vm"])
    if "remote_tlb_flush_requests" not in vm or not vcpus:
        raise GuestError(f"{guest.name}: query-stats has no KVM statistics; seen: {sorted(vm)[:5]}")
    return vcpus | vm


def counter_names(guest: Guest) -> Names:
    """What KVM counts, as this QEMU reports; the same for every VM."""
    names: Names = {"vm": set(), "vcpu": set()}
    for schema in guest.execute("query-stats-schemas", provider="kvm"):
        grown = {stat["name"] for stat in schema["stats"] if stat["type"] == "cumulative"}
        names[schema["target"]] |= grown
    return names


def _sums(answer: list[dict[str, Any]], names: set[str]) -> dict[str, int]:
    """Each named counter, summed over the objects answered for."""
    totals: dict[str, int] = {}
    for item in answer:
        for stat in item["stats"]:
            if stat["name"] in names:
                totals[stat["name"]] = totals.get(stat["name"], 0) + int(stat["value"])
    return totals
