# SPDX-License-Identifier: GPL-2.0-or-later
"""What sizes of pages an L2's RAM is made of: as KVM maps it, and as its QEMU has it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guestloop.agent.guest import Guest
from guestloop.ground.units import HUGE_PAGE

# Of fs/proc/task_mmu.c (__show_smap), in KiB: anonymous memory, tmpfs, files and hugetlbfs.
HUGE_KINDS = frozenset(
    {"AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb", "Private_Hugetlb"}
)


@dataclass(frozen=True)
class PageSizes:
    """Pages by size that KVM maps for the guest at this moment, and huge pages of 2 MiB in its QEMU."""

    mapped_4k: int
    mapped_2m: int
    huge_pages: int


def read_page_sizes(guest: Guest) -> PageSizes:
    """KVM's gauges ``pages_4k`` and ``pages_2m`` (arch/x86/kvm/x86.c: kvm_vm_stats_desc), and smaps."""
    gauges = {
        stat["name"]: int(stat["value"])
        for item in guest.execute("query-stats", target="vm")
        for stat in item["stats"]
        if stat["name"].startswith("pages_")
    }
    rollup = Path(f"/proc/{guest.process.pid}/smaps_rollup").read_text()
    return PageSizes(gauges.get("pages_4k", 0), gauges.get("pages_2m", 0), huge_bytes(rollup) // HUGE_PAGE)


def huge_bytes(rollup: str) -> int:
    """In the text of /proc/PID/smaps_rollup: bytes that are huge pages, of whatever kind."""
    fields = (line.split() for line in rollup.splitlines()[1:])
    return sum(int(kib) * 1024 for name, kib, *_unit in fields if name.rstrip(":") in HUGE_KINDS)
