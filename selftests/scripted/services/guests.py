# SPDX-License-Identifier: GPL-2.0-or-later
"""The guests."""

from __future__ import annotations

from guestloop.agent.guests import Guests
from guestloop.agent.memory import PageOut
from guestloop.agent.page_sizes import PageSizes
from scripted.stage import Stage


class ScriptedGuests(Guests):
    """The real service, but for what is done to the memory of a real process."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.l1.roster, stage.directory / "l2")
        self._l1 = stage.l1

    def page_sizes(self, name: str) -> PageSizes:
        """All of its RAM is as the script has it, and KVM has mapped a part."""
        guest, script = self._l1.guest(name), self._l1.script
        huge = self._l1.huge_pages or guest.hugetlb or script.stray_huge_pages
        pages = int(guest.ram_mib // 2 * script.huge_pages) if huge else 0
        return PageSizes(900, pages // 3, pages)

    def page_out(self, name: str, ram_mib: int, timeout_s: float, pressure: bool = False) -> PageOut:
        self._l1.guest(name).pages.page_out()
        return PageOut(left_bytes=0, seconds=0.1)
