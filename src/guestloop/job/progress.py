# SPDX-License-Identifier: GPL-2.0-or-later
"""What the user sees while rounds are measured: which one runs, what came of it, how long is left."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from avocado.core.plugin_interfaces import ResultEvents

from guestloop.job.missing import write_missing_round
from guestloop.job.sitting import SITTING_KEY, CurrentSitting
from guestloop.job.spawner import NOT_STARTED
from guestloop.job.views import VIEW_KEY, PlainView, View
from guestloop.lab.spec import OUT_VARIABLE


class Progress(ResultEvents):  # type: ignore[misc]
    """Shows when a round starts and when one ends; silent in jobs that are not ours.

    Before that it sees to it that each round of a run has a record.
    """

    name = "guestloop"
    description = "progress of a guestloop run"

    def __init__(self, config: dict[str, Any]) -> None:
        self._sitting: CurrentSitting | None = config.get(SITTING_KEY)
        self._view: View | None = config.get(VIEW_KEY) or (self._sitting and PlainView(self._sitting))
        self._started: dict[str, float] = {}

    def pre_tests(self, job: Any) -> None:
        """Nothing to say before the first round."""

    def start_test(self, result: Any, state: dict[str, Any]) -> None:
        if not (self._sitting and self._view):
            return
        slot = self._sitting.slot(state["name"].variant)
        self._started[slot.label] = time.monotonic()
        self._sitting.begin(slot)
        if self._sitting.may_start(slot):
            self._view.started(slot)

    def end_test(self, result: Any, state: dict[str, Any]) -> None:
        if (out := os.environ.get(OUT_VARIABLE)) and state.get("fail_reason") != NOT_STARTED:
            write_missing_round(Path(out), state)
        if not (self._sitting and self._view):
            return
        slot = self._sitting.slot(state["name"].variant)
        if state.get("fail_reason") == NOT_STARTED:
            self._view.not_started(slot)
        else:
            took_s = time.monotonic() - self._started[slot.label]
            self._view.ended(slot, self._sitting.end(slot), took_s)

    def test_progress(self, progress: bool = False) -> None:
        """Nothing to show for a heartbeat."""

    def post_tests(self, job: Any) -> None:
        """Nothing to add at the end."""
