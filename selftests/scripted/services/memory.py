# SPDX-License-Identifier: GPL-2.0-or-later
"""L1's memory: what the script says is lacking."""

from __future__ import annotations

from guestloop.agent.memory import Memory, Need
from scripted.stage import Stage


class ScriptedMemory(Memory):
    def __init__(self, stage: Stage) -> None:
        self._l1 = stage.l1

    def swap_on(self, serial: str) -> int:
        return 1 << 20

    def read_vmstat(self) -> dict[str, int]:
        return dict(self._l1.kernel.vmstat)

    def lacks(self, needs: list[Need]) -> str:
        return "; ".join(self._l1.script.lacks[need] for need in needs if need in self._l1.script.lacks)
