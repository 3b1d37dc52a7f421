# SPDX-License-Identifier: GPL-2.0-or-later
"""The idle bitmap."""

from __future__ import annotations

from guestloop.agent.page_idle import PageIdle
from scripted.memory import letters
from scripted.stage import Stage


class ScriptedPageIdle(PageIdle):
    def __init__(self, stage: Stage) -> None:
        self._l1 = stage.l1

    def lacks(self) -> str:
        return self._l1.script.lacks.get("page_idle", "")

    def mark(self, name: str) -> None:
        self._l1.guest(name).pages.look(self._l1.units[name])

    def idle(self, name: str) -> str:
        pages, unit = self._l1.guest(name).pages, self._l1.units[name]
        return letters(pages.count, unit, {page for page, used in pages.look(unit).items() if not used})
