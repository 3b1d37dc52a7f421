# SPDX-License-Identifier: GPL-2.0-or-later
"""What the user sees while rounds are measured: which one runs, what came of it, how long is left."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from avocado.core.plugin_interfaces import ResultEvents

from guestloop.ground.log import duration, say
from guestloop.job.measure import PROGRESS_KEY, Slot
from guestloop.job.missing import write_missing_round
from guestloop.lab.spec import OUT_VARIABLE
from guestloop.results.findings import Bearing
from guestloop.results.records import Outcome, Round, parse_round, round_path


class Progress(ResultEvents):  # type: ignore[misc]
    """Prints a line when a round starts and one when it ends; silent in jobs that are not ours.

    Before that it sees to it that each round of a run has a record.
    """

    name = "guestloop"
    description = "progress of a guestloop run"

    def __init__(self, config: dict[str, Any]) -> None:
        self._slots: list[Slot] = config.get(PROGRESS_KEY) or []
        self._done = 0
        self._job_started = self._round_started = time.monotonic()

    def pre_tests(self, job: Any) -> None:
        self._job_started = time.monotonic()

    def start_test(self, result: Any, state: dict[str, Any]) -> None:
        if not self._slots:
            return
        self._round_started = time.monotonic()
        slot = self._slots[self._done]
        say(f"[{self._done + 1}/{len(self._slots)}] {slot.cell.id} {slot.kernel}, round {slot.round}")

    def end_test(self, result: Any, state: dict[str, Any]) -> None:
        if out := os.environ.get(OUT_VARIABLE):
            write_missing_round(Path(out), state)
        if not self._slots:
            return
        slot = self._slots[self._done]
        self._done += 1
        took = time.monotonic() - self._round_started
        say(f"    {_summary(slot)} [{duration(took)}{self._left()}]")

    def _left(self) -> str:
        remaining = len(self._slots) - self._done
        if not remaining:
            return ""
        each = (time.monotonic() - self._job_started) / self._done
        return f", about {duration(each * remaining)} left"

    def test_progress(self, progress: bool = False) -> None:
        """Nothing to show for a heartbeat."""

    def post_tests(self, job: Any) -> None:
        """Nothing to add at the end."""


def _summary(slot: Slot) -> str:
    path = round_path(Path(os.environ[OUT_VARIABLE]), slot.cell, slot.kernel, slot.round)
    if not path.exists():
        return "no result was written"
    record: Round = parse_round(json.loads(path.read_text()))
    if record.is_wrong:
        return f"wrong: {record.first_line(Bearing.WRONG)}"
    if record.is_invalid:
        return f"{Outcome.INVALID}: {record.first_line(Bearing.INVALID)}"
    if record.is_skipped:
        return f"{Outcome.SKIPPED}: {record.first_line(Bearing.SKIPPED)}"
    events = record.events.get(record.event, 0)
    judged = ", ".join(f"{path} {record.paths.get(path, 0)}" for path in record.judged)
    flushes = record.counters.get("remote_tlb_flush_requests", 0)
    return f"{events} {record.event}, {flushes} flush requests ({judged}), contents {record.correctness}"
