# SPDX-License-Identifier: GPL-2.0-or-later
"""Migration."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from guestloop.agent.migration import Migration
from guestloop.agent.ram import Compared
from guestloop.ground.units import MIB, PAGE
from scripted.stage import Stage


class ScriptedMigration(Migration):
    """The real service, but for what is done to real processes and files."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.l1.roster, stage.trace)
        self._l1 = stage.l1

    def prepare(
        self, source: str, destination: str, capabilities: Sequence[str], parameters: dict[str, Any]
    ) -> None:
        super().prepare(source, destination, capabilities, parameters)
        self._l1.moving = source, destination

    def compare(self) -> Compared:
        source, _ = self._l1.moving
        lost = self._l1.script.lost_pages
        contents = [(b64encode(here).decode(), b64encode(there).decode()) for here, there in lost.values()]
        pages = self._l1.script.compared or self._l1.guest(source).ram_mib * MIB // PAGE
        return Compared(pages, list(lost), contents)

    def pin(self, name: str) -> None:
        self._l1.guest(name)

    def huge_pages(self, pages: int) -> int:
        return min(pages, self._l1.script.pool)

    def connections(self) -> int:
        return self._l1.script.connections

    def small_tmpfs(self, path: str, mib: int) -> None:
        """There is no file that could be put there."""
