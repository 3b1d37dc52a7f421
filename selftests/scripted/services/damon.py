# SPDX-License-Identifier: GPL-2.0-or-later
"""DAMON."""

from __future__ import annotations

from guestloop.agent.damon import Damon
from scripted.stage import Stage


class ScriptedDamon(Damon):
    """Each watched page that is touched is seen in every sample."""

    def __init__(self, stage: Stage) -> None:
        self._l1 = stage.l1
        self._most = self._samples = 0
        self._seen: list[int] = []

    def lacks(self) -> str:
        return self._l1.script.lacks.get("damon", "")

    def start(self, name: str, most: int, sample_us: int, aggregation_us: int) -> int:
        self._most, self._samples = most, aggregation_us // sample_us
        return min(most, self._l1.guest(name).pages.count // self._l1.units[name])

    def watch(self, name: str, aggregations: int, move_every_s: float) -> None:
        pages, unit = self._l1.guest(name).pages, self._l1.units[name]
        for _ in range(aggregations):
            for _ in range(self._samples):
                pages.look(unit, clear=False)
                young = pages.look(unit, clear=False, test=True)
            pages.touched.clear()
        self._seen = [self._samples * used for used in young.values()][: self._most]

    def seen(self) -> list[int]:
        return self._seen

    def stop(self) -> None:
        self._most = 0
