# SPDX-License-Identifier: GPL-2.0-or-later
"""The guests."""

from __future__ import annotations

from guestloop.agent.guests import Guests
from guestloop.agent.memory import PageOut
from scripted.stage import Stage


class ScriptedGuests(Guests):
    """The real service, but for what is done to the memory of a real process."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.l1.roster, stage.directory / "l2")
        self._l1 = stage.l1

    def page_out(self, name: str, ram_mib: int, timeout_s: float, pressure: bool = False) -> PageOut:
        self._l1.guest(name).pages.page_out()
        return PageOut(left_bytes=0, seconds=0.1)
