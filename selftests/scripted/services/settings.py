# SPDX-License-Identifier: GPL-2.0-or-later
"""The settings of L1's kernel: the real service, with a dictionary for the files, which takes everything."""

from __future__ import annotations

from guestloop.agent.settings import Setting, Settings
from scripted.stage import Stage


class ScriptedSettings(Settings):
    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._l1 = stage.l1
        missing = {Setting.LRU_GEN} if not stage.l1.script.mglru else set()
        defaults = {setting: setting.usual for setting in Setting} | dict(stage.l1.script.defaults)
        self._files = {setting: f"{value}\n" for setting, value in defaults.items() if setting not in missing}

    def _read_file(self, setting: Setting) -> str | None:
        return self._files.get(setting)

    def _write_file(self, setting: Setting, value: str) -> None:
        self._files[setting] = value

    def change(self, wanted: dict[Setting, str]) -> dict[str, str]:
        seen = super().change(wanted)
        if Setting.THP in wanted:
            self._l1.huge_pages = wanted[Setting.THP] != "never"
        if wanted.get(Setting.LRU_GEN, "0") != "0" and self._l1.script.mglru:
            seen[Setting.LRU_GEN.value] = self._l1.script.mglru
        return seen
