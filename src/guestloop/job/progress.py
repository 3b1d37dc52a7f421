# SPDX-License-Identifier: GPL-2.0-or-later
"""What the user sees while rounds are measured: which one runs, what came of it, how long is left."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avocado.core.plugin_interfaces import ResultEvents

from guestloop.ground.log import duration, say
from guestloop.job.missing import write_missing_round
from guestloop.job.schedule import Slot
from guestloop.job.sitting import SITTING_KEY, CurrentSitting
from guestloop.job.spawner import NOT_STARTED
from guestloop.lab.spec import OUT_VARIABLE
from guestloop.results.findings import Bearing
from guestloop.results.records import Outcome, Round


class Progress(ResultEvents):  # type: ignore[misc]
    """Prints a line when a round starts and one when it ends; silent in jobs that are not ours.

    Before that it sees to it that each round of a run has a record.
    """

    name = "guestloop"
    description = "progress of a guestloop run"

    def __init__(self, config: dict[str, Any]) -> None:
        self._sitting: CurrentSitting | None = config.get(SITTING_KEY)
        self._started = time.monotonic()

    def pre_tests(self, job: Any) -> None:
        """Nothing to say before the first round."""

    def start_test(self, result: Any, state: dict[str, Any]) -> None:
        self._started = time.monotonic()
        if self._sitting and self._sitting.may_start(slot := self._sitting.slot(state["name"].variant)):
            again = f", which repeats round {slot.repeats}" if slot.repeats else ""
            say(f"[{_place(self._sitting, slot)}] {slot.cell.id} {slot.kernel}, round {slot.round}{again}")

    def end_test(self, result: Any, state: dict[str, Any]) -> None:
        if (out := os.environ.get(OUT_VARIABLE)) and state.get("fail_reason") != NOT_STARTED:
            write_missing_round(Path(out), state)
        if self._sitting:
            self._tell_end(self._sitting, self._sitting.slot(state["name"].variant), state)

    def _tell_end(self, sitting: CurrentSitting, slot: Slot, state: Mapping[str, Any]) -> None:
        if state.get("fail_reason") == NOT_STARTED:
            say(f"    {slot.cell.id} {slot.kernel}, round {slot.round}: {NOT_STARTED}")
            return
        record = sitting.end(slot)
        took = duration(time.monotonic() - self._started)
        say(f"    {summary(record) if record else 'no result was written'} [{took}{_left(sitting, slot)}]")

    def test_progress(self, progress: bool = False) -> None:
        """Nothing to show for a heartbeat."""

    def post_tests(self, job: Any) -> None:
        """Nothing to add at the end."""


def _place(sitting: CurrentSitting, slot: Slot) -> str:
    """How far the look is: ``3/42``, and which look it is if there are several."""
    assert sitting.look
    slots = sitting.look.slots
    several = f"{sitting.look.name} " if len(sitting.plan.looks) > 1 else ""
    return f"{several}{slots.index(slot) + 1}/{len(slots)}"


def _left(sitting: CurrentSitting, slot: Slot) -> str:
    """How long the rest of the look will take, and how much of the budget is left."""
    assert sitting.look
    slots = sitting.look.slots
    if not (rest := slots[slots.index(slot) + 1 :]):
        return ""
    several = " of this look" if len(sitting.plan.looks) > 1 else ""
    told = f", about {duration(sitting.costs.seconds(rest))} left{several}"
    if sitting.plan.budget_s is None:
        return told
    return f"{told}, {duration(max(0.0, sitting.left_s))} of the budget"


def summary(record: Round) -> str:
    """What came of a round, in one line."""
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
