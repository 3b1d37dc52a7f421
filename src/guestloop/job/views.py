# SPDX-License-Identifier: GPL-2.0-or-later
"""How rounds are shown while they are measured: as lines, or on a terminal as a matrix that fills up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from guestloop.ground.log import can_draw, duration, say
from guestloop.job.schedule import Slot
from guestloop.job.sitting import CurrentSitting
from guestloop.job.spawner import NOT_STARTED
from guestloop.report.plain import one_line
from guestloop.results.findings import Bearing
from guestloop.results.records import Outcome, Round

VIEW_KEY = "guestloop.view"
"""Where a job has it in its configuration."""


class View(Protocol):
    """Is told what happens to each round of a sitting."""

    def started(self, slot: Slot) -> None:
        """A round has begun."""

    def ended(self, slot: Slot, record: Round | None, took_s: float) -> None:
        """A round is over; None: it has left no record."""

    def not_started(self, slot: Slot) -> None:
        """A round did not fit any more."""


class PlainView:
    """A line when a round starts, and one when it ends: for logs."""

    def __init__(self, sitting: CurrentSitting) -> None:
        self._sitting = sitting

    def started(self, slot: Slot) -> None:
        say(f"[{place(self._sitting, slot)}] {title(slot)}")

    def ended(self, slot: Slot, record: Round | None, took_s: float) -> None:
        # Beside others it is not the one that began last.
        which = f"{title(slot)}: " if self._sitting.lane_count > 1 else ""
        say(f"    {which}{summary(record)} [{duration(took_s)}{self._left()}]")

    def not_started(self, slot: Slot) -> None:
        say(f"    {title(slot)}: {NOT_STARTED}")

    def _left(self) -> str:
        rest_s = self._sitting.rest_s
        return left(self._sitting, rest_s, duration) if rest_s else ""


@contextmanager
def view_of(sitting: CurrentSitting) -> Iterator[View]:
    """A matrix on a terminal that can draw one, else lines."""
    if not can_draw(sys.stderr):
        yield PlainView(sitting)
        return
    # rich takes a while to load, and most commands draw nothing.
    from guestloop.job.live import live_view

    with live_view(sitting) as view:
        yield view or PlainView(sitting)


def place(sitting: CurrentSitting, slot: Slot) -> str:
    """How far the look is: ``3/42``, and which look it is if there are several."""
    assert sitting.look
    several = f"{sitting.look.name} " if len(sitting.plan.looks) > 1 else ""
    return f"{several}{sitting.position(slot)}/{len(sitting.look.slots)}"


def title(slot: Slot) -> str:
    """A round by its cell, kernel and number."""
    return f"{slot.cell.id} {slot.kernel}, {number(slot)}"


def number(slot: Slot) -> str:
    """``round 3, which repeats round 1``."""
    return f"round {slot.round}" + (f", which repeats round {slot.repeats}" if slot.repeats else "")


def left(sitting: CurrentSitting, rest_s: float, words: Callable[[float], str]) -> str:
    """How long the rest of the look will take, and how much of the budget is left, each in ``words``."""
    several = " of this look" if len(sitting.plan.looks) > 1 else ""
    told = f", about {words(rest_s)} left{several}"
    if sitting.plan.budget_s is None:
        return told
    return f"{told}, {words(max(0.0, sitting.left_s))} of the budget"


def summary(record: Round | None) -> str:
    """What came of a round, in one line."""
    if record is None:
        return "no result was written"
    if record.is_wrong:
        return f"wrong: {one_line(record.first_line(Bearing.WRONG))}"
    if record.is_invalid:
        return f"{Outcome.INVALID}: {one_line(record.first_line(Bearing.INVALID))}"
    if record.is_skipped:
        return f"{Outcome.SKIPPED}: {one_line(record.first_line(Bearing.SKIPPED))}"
    events = record.events.get(record.event, 0)
    judged = ", ".join(f"{path} {record.paths.get(path, 0)}" for path in record.judged)
    flushes = record.counters.get("remote_tlb_flush_requests", 0)
    return f"{events} {record.event}, {flushes} flush requests ({judged}), contents {record.correctness}"
