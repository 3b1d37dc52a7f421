# SPDX-License-Identifier: GPL-2.0-or-later
"""Regions, whose pages are those of the scripted memory."""

from __future__ import annotations

from guestloop.agent import pages as agent_pages
from guestloop.agent.pages import Flag
from guestloop.agent.regions import Atlas, Regions, Watched
from guestloop.ground.errors import GuestError
from guestloop.ground.units import MIB, PAGE
from scripted.memory import letters
from scripted.payload import GVA
from scripted.stage import Stage


class ScriptedRegions(Regions):
    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.l1.roster, Atlas())
        self._l1 = stage.l1

    def watch(self, name: str, ram_mib: int, frames: list[str], gva: int, unit: int = 1) -> Watched:
        runs = agent_pages.parse_frames(frames)
        count = self._l1.guest(name).pages.count
        if sum(pages for _, pages in runs) != count or gva != GVA or ram_mib * MIB <= count * PAGE:
            raise GuestError(f"the region of L2 {name!r} is not where it is said to be")
        self._l1.units[name] = unit
        return Watched(count // unit, len(runs))

    def move_vcpus(self, name: str, turn: int) -> list[int]:
        return [(vcpu + turn) % 2 for vcpu, _ in enumerate(self._l1.guest(name).vcpu_threads())]

    def swapped(self, name: str) -> str:
        pages = self._l1.guest(name).pages
        return letters(pages.count, self._l1.units[name], pages.swapped)

    def flagged(self, name: str, flag: Flag) -> str:
        pages = self._l1.guest(name).pages.count // self._l1.units[name]
        there = int(pages * self._l1.script.huge_pages) if self._l1.huge_pages and flag is Flag.THP else 0
        return "1" * there + "0" * (pages - there)
