# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM's statistics of an L2, in the form of QEMU's qapi/stats.json."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from guestloop.agent.counters import counter_names, read_counters
from guestloop.agent.guest import Guest
from guestloop.ground.errors import GuestError

TYPES = {"pages_4k": "instant", "max_mmu_page_hash_collisions": "peak", "halt_hist": "log2-histogram"}


class Statistics(Guest):
    """A guest of which only the statistics are there: one VM, and its vCPUs."""

    def __init__(self, vm: dict[str, int], *vcpus: dict[str, Any]) -> None:
        self.name, self.vm, self.vcpus = "storm", vm, vcpus
        self.asked: list[str] = []

    def execute(self, command: str, timeout_s: float = 30.0, **arguments: object) -> Any:
        self.asked.append(f"{command} {arguments.get('target', '')}".strip())
        if command == "query-stats-schemas":
            assert arguments == {"provider": "kvm"}
            names = {"vm": self.vm.keys(), "vcpu": set(itertools.chain(*self.vcpus))}
            return [self._schema(target, found) for target, found in names.items()]
        objects = {"vm": (self.vm,), "vcpu": self.vcpus}[str(arguments["target"])]
        return [
            {"provider": "kvm", "stats": [{"name": key, "value": value} for key, value in one.items()]}
            for one in objects
        ]

    def _schema(self, target: str, names: Any) -> dict[str, Any]:
        stats = [{"name": name, "type": TYPES.get(name, "cumulative")} for name in names]
        return {"target": target, "provider": "kvm", "stats": stats}


VM = {"remote_tlb_flush_requests": 7, "remote_tlb_flush": 5, "pages_4k": 100}
VCPUS = ({"exits": 3, "halt_hist": [1, 2], "remote_tlb_flush": 1}, {"exits": 4, "halt_hist": [3, 4]})


def test_counters_of_the_vm_and_sums_over_its_vcpus() -> None:
    wanted = {"remote_tlb_flush_requests": 7, "remote_tlb_flush": 5, "exits": 7}
    assert read_counters(Statistics(VM, *VCPUS)) == wanted


def test_flush_requests_are_read_last_next_to_the_histogram() -> None:
    guest = Statistics(VM, *VCPUS)
    read_counters(guest)
    assert guest.asked == ["query-stats-schemas", "query-stats vcpu", "query-stats vm"]


def test_who_reads_often_asks_for_the_names_once() -> None:
    guest = Statistics(VM, *VCPUS)
    names = counter_names(guest)
    assert names == {
        "vm": {"remote_tlb_flush_requests", "remote_tlb_flush"},
        "vcpu": {"exits", "remote_tlb_flush"},
    }
    assert read_counters(guest, names) == read_counters(guest)
    assert guest.asked.count("query-stats-schemas") == 2


def test_no_statistics_are_not_zero() -> None:
    with pytest.raises(GuestError, match=r"^storm: query-stats has no KVM statistics; seen: \['remote"):
        read_counters(Statistics({"remote_tlb_flush": 5}, {"exits": 3}))
    with pytest.raises(GuestError, match="no KVM statistics"):
        read_counters(Statistics({"remote_tlb_flush_requests": 7}))
