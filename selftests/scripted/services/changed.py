# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes that count what the script says."""

from __future__ import annotations

from guestloop.agent.changed import Changed, Hits, Probes
from scripted.stage import Stage


class ScriptedChanged(Changed):
    def __init__(self, stage: Stage) -> None:
        super().__init__(Probes())
        self._l1 = stage.l1

    def read(self) -> Hits:
        ran = self._l1.script.ran
        return Hits({one.function: ran.get(one.function, 0) for one in self._l1.watched}, {})
