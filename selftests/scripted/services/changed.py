# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes that count what the script says."""

from __future__ import annotations

from guestloop.agent.changed import Changed, Hits, Probes
from scripted.stage import Stage


class ScriptedChanged(Changed):
    def __init__(self, stage: Stage) -> None:
        super().__init__(Probes())
        self._l1 = stage.l1
        self._counts = False
        self._disturbing = 0

    def begin_counting(self) -> None:
        self._counts = True

    def end_counting(self) -> None:
        assert self._counts
        self._disturbing += self._l1.script.ran_late

    def read(self) -> Hits:
        ran = self._l1.script.ran
        calls = {one.function: ran.get(one.function, 0) for one in self._l1.watched}
        return Hits(calls, {}, self._disturbing)
