# SPDX-License-Identifier: GPL-2.0-or-later
"""Where KVM itself writes into a guest's memory, and which differences of RAM that explains (pure).

The guest tells KVM these addresses by writing MSRs (Documentation/virt/kvm/x86/msr.rst), and L1 counts
these writes by thread, register and value (agent/trace.py), so they are read and not guessed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from guestloop import counters
from guestloop.ground.errors import GuestError
from guestloop.ground.units import PAGE

ENABLED = 1


@dataclass(frozen=True)
class Register:
    """An MSR that holds the guest physical address of an area that KVM writes.

    The address is the value without ``flags``; without bit 0 in the value the area is off, unless it is
    ``always`` on.
    """

    name: str
    size: int
    flags: int
    always: bool = False


# arch/x86/include/uapi/asm/kvm_para.h and pvclock-abi.h (struct sizes), arch/x86/kvm/x86.c, lapic.c (flags)
REGISTERS = {
    0x4B564D00: Register("wall clock", 12, 0, always=True),
    0x4B564D01: Register("kvmclock", 32, ENABLED),
    0x4B564D02: Register("async page fault area", 64, 0x3F),
    0x4B564D03: Register("steal time", 64, 0x3F),
    0x4B564D04: Register("PV EOI", 4, 0x3),
}


@dataclass(frozen=True)
class Area:
    """A piece of guest physical memory that KVM writes, in bytes."""

    name: str
    start: int
    size: int

    def holds(self, address: int) -> bool:
        return self.start <= address < self.start + self.size


def areas_of(histogram: str, threads: Collection[int]) -> list[Area]:
    """The areas of the guest whose vCPUs are these threads, from the histogram of its MSR writes.

    Raises GuestError when the histogram was full: an area that is not known would be taken for lost pages.
    """
    areas: list[Area] = []
    written = counters.parse_histogram(histogram)
    if written.dropped:
        raise GuestError(f"the histogram of MSR writes is full: {written.dropped} writes were not counted")
    for entry in written.entries:
        register, value = REGISTERS.get(entry.keys["ecx"]), entry.keys["data"]
        if register and entry.keys["common_pid"] in threads and (register.always or value & ENABLED):
            areas.append(Area(register.name, value & ~register.flags, register.size))
    return sorted(areas, key=lambda area: area.start)


def cause_of(areas: Collection[Area], page: int, first: bytes, second: bytes) -> str:
    """Who made the two contents of a page differ; empty when a byte differs that is in no area."""
    names: dict[str, None] = {}
    for offset in (at for at in range(PAGE) if first[at] != second[at]):
        area = next((area for area in areas if area.holds(page * PAGE + offset)), None)
        if area is None:
            return ""
        names[area.name] = None
    return ", ".join(names)
