# SPDX-License-Identifier: GPL-2.0-or-later
"""What L1 says it is, and its console."""

from __future__ import annotations

from guestloop.agent.system import Hello, System
from scripted.script import BUILD_ID
from scripted.stage import Stage


class ScriptedSystem(System):
    def __init__(self, stage: Stage) -> None:
        self._l1 = stage.l1

    def hello(self) -> Hello:
        return Hello("6.12.117", BUILD_ID, self._l1.parts.sizes.l1_cpus, 4.5)

    def boot_facts(self) -> dict[str, str]:
        told = self._l1._told
        return {"command_line": told, "page_table_levels": "4"}

    def set_pace(self, pace: float, slowdown: float) -> None:
        """The pace is that of this process, which others share."""

    def rearm_warnings(self) -> bool:
        return True

    def write_console(self, text: str) -> None:
        self._l1.print(text)
