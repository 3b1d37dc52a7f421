# SPDX-License-Identifier: GPL-2.0-or-later
"""Where in L1 the pages of an L2's load are: the ground of everything that asks about single pages."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path

from guestloop.agent import pages
from guestloop.agent.guest import Guest
from guestloop.agent.guests import Roster
from guestloop.agent.memory import find_ram
from guestloop.agent.pages import Flag, Run
from guestloop.agent.placement import place
from guestloop.ground.errors import GuestError
from guestloop.ground.units import HUGE_PAGE, MIB, PAGE

PROOF_PAGES = 16  # compared with their stamps to prove the way from guest frame to host page


@dataclass(frozen=True)
class Region:
    """The pages of an L2's load, in the payload's order, as addresses in its QEMU.

    ``unit``: pages of 4 KiB that age as one; the first of each is looked at and stands for all.
    """

    guest: Guest
    runs: tuple[Run, ...]
    unit: int = 1

    @property
    def pid(self) -> int:
        return self.guest.process.pid

    @property
    def addresses(self) -> list[int]:
        return [run.start + i * PAGE for run in self.runs for i in range(run.pages)][:: self.unit]

    def read_pagemap(self) -> array[int]:
        """The pagemap entry of each unit."""
        return pages.read_pagemap(self.pid, self.runs)[:: self.unit]

    def host_frames(self) -> list[int]:
        """The host frame of each unit, 0 where it is not in memory."""
        return [pages.frame_of(entry) for entry in self.read_pagemap()]

    def swapped(self) -> str:
        """For each unit whether it is in swap, see Regions."""
        return pages.swapped(self.read_pagemap())


class Atlas:
    """The regions that are known, by the name of their L2, for all services that age pages."""

    def __init__(self) -> None:
        self.known: dict[str, Region] = {}

    def __getitem__(self, name: str) -> Region:
        if name not in self.known:
            raise GuestError(f"the region of L2 {name!r} is not known; known: {sorted(self.known)}")
        return self.known[name]


@dataclass(frozen=True)
class Watched:
    """The size of a region that was found: units, and runs of consecutive pages."""

    pages: int
    runs: int


class Regions:
    """Service: the regions of L2 guests.

    Answers about pages are texts with a letter for each unit of the region (see Region): ``1``, ``0``, or
    ``-`` for a page that was not in memory or moved.
    """

    def __init__(self, roster: Roster, atlas: Atlas) -> None:
        self._roster, self._atlas = roster, atlas

    def watch(self, name: str, ram_mib: int, frames: list[str], gva: int, unit: int = 1) -> Watched:
        """Learn where the region of an L2 is, from the payload's ``frames`` lines.

        Word 0 of a page is its own address in the guest (guest-images/l2): some pages are read through
        QEMU's memory and must say so, or GuestError is raised.
        """
        guest = self._roster[name]
        ram = find_ram(guest.process.pid, ram_mib * MIB)
        # QEMU aligns RAM to 2 MiB; a neighbour merged into the mapping comes before it.
        base = -(-ram.start // HUGE_PAGE) * HUGE_PAGE
        runs = tuple(Run(base + frame * PAGE, count) for frame, count in pages.parse_frames(frames))
        region = Region(guest, runs, unit)
        prove_addresses(region, gva)
        self._atlas.known[name] = region
        return Watched(len(region.addresses), len(runs))

    def move_vcpus(self, name: str, turn: int) -> list[int]:
        """Give each vCPU another CPU with each turn, where no TLB hides an access: see placement.place."""
        return place(self._roster[name].vcpu_threads(), turn)

    def swapped(self, name: str) -> str:
        """Which pages of the region are in swap."""
        return self._atlas[name].swapped()

    def flagged(self, name: str, flag: Flag) -> str:
        """Which pages have this flag."""
        return pages.read_flags(self._atlas[name].host_frames(), flag.bit)


def prove_addresses(region: Region, gva: int) -> None:
    """Raise GuestError unless pages of the region hold their own addresses."""
    addresses = region.addresses
    step = max(1, len(addresses) // PROOF_PAGES)
    with Path(f"/proc/{region.pid}/mem").open("rb", buffering=0) as memory:
        for number in range(0, len(addresses), step):
            page = number * region.unit
            memory.seek(addresses[number])
            seen, wanted = int.from_bytes(memory.read(8), "little"), gva + page * PAGE
            if seen != wanted:
                raise GuestError(
                    f"page {page} of the region is not at {addresses[number]:#x} of QEMU: its first word is "
                    f"{seen:#x}, wanted {wanted:#x}"
                )
