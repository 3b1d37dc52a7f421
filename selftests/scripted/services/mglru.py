# SPDX-License-Identifier: GPL-2.0-or-later
"""The multi-gen LRU."""

from __future__ import annotations

from guestloop.agent.mglru import Mglru
from scripted.stage import Stage


class ScriptedMglru(Mglru):
    def __init__(self, stage: Stage) -> None:
        self._l1 = stage.l1
        self._old: set[int] = set()

    def lacks(self) -> str:
        return self._l1.script.lacks.get("mglru", "")

    def age(self, name: str) -> dict[int, int]:
        if not self._l1.script.walks:
            return {1: 0, 2: 0}
        young = self._l1.guest(name).pages.look()
        self._old = {page for page, used in young.items() if not used}
        return {1: len(self._old), 2: len(young) - len(self._old)}

    def evict(self, name: str) -> None:
        pages = self._l1.guest(name).pages
        if not self._l1.script.walks:
            self._old = {page for page, used in pages.look().items() if not used}
        pages.swap(self._old)
