# SPDX-License-Identifier: GPL-2.0-or-later
"""The settings of L1's kernel: the real service on files that take what is written to them."""

from __future__ import annotations

from guestloop.agent.settings import Setting, Settings
from scripted.stage import Stage


class ScriptedSettings(Settings):
    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.directory / "files")
        self._l1 = stage.l1
        missing = {Setting.LRU_GEN} if not stage.l1.script.mglru else set()
        for setting in set(Setting) - missing:
            path = self._root / setting.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{stage.l1.script.defaults.get(setting, setting.usual)}\n")

    def change(self, wanted: dict[Setting, str]) -> dict[str, str]:
        seen = super().change(wanted)
        if Setting.THP in wanted:
            self._l1.huge_pages = wanted[Setting.THP] != "never"
        if wanted.get(Setting.LRU_GEN, "0") != "0" and self._l1.script.mglru:
            seen[Setting.LRU_GEN.value] = self._l1.script.mglru
        return seen
