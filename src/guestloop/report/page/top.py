# SPDX-License-Identifier: GPL-2.0-or-later
"""The top of the page: the verdict, how many cells say what, and what has to be read first."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from guestloop.compare import KernelState, Met, Status
from guestloop.ground.words import plural
from guestloop.report.page.badges import Badge, badge
from guestloop.report.page.matrix import anchor
from guestloop.report.results import CellResult, KernelResult, Result

MOST_NOTES = 6
"""Of one status; the others are in the matrix, in the same colour."""

LONGEST_REASON = 160

NOTED = (
    Status.BROKEN,
    Status.MORE,
    Status.UNEXPLAINED,
    Status.FIXED,
    Status.FEWER,
    Status.MOVED,
    Status.INVALID,
)
"""What is told at the top, in this order; cells that are open or quiet are counted."""


@dataclass(frozen=True)
class Note:
    """One thing that has to be read, with its place on the page."""

    badge: Badge
    name: str
    reason: str
    anchor: str


@dataclass(frozen=True)
class Group:
    """Notes of one status, and how many more there are."""

    notes: tuple[Note, ...]
    more: int


@dataclass(frozen=True)
class Tally:
    """How many cells have a status, of each candidate; ``open`` says what would settle them."""

    badge: Badge
    count: int
    meaning: str


@dataclass(frozen=True)
class Top:
    """``word`` is the verdict, ``rest`` the rest of the answer without its examples, which are in groups."""

    badge: Badge
    word: str
    rest: str
    kernels: tuple[Note, ...]
    groups: tuple[Group, ...]
    tallies: tuple[Tally, ...]
    state: str


def top(result: Result) -> Top:
    """What is understood in five seconds."""
    word, _, rest = result.summary.partition(": ")
    return Top(
        badge(result.verdict),
        word,
        rest,
        tuple(note for kernel in result.kernels.values() for note in _kernel_notes(result, kernel)),
        tuple(_groups(result)),
        _tallies(result),
        _state(result),
    )


def _kernel_notes(result: Result, kernel: KernelResult) -> Iterator[Note]:
    if kernel.state is not KernelState.MEASURED:
        name = f"{kernel.name} (the reference)" if kernel.name == result.reference else kernel.name
        yield Note(badge(kernel.state), name, _shorten(kernel.reason), "kernels")
    if kernel.late:
        more = f" and {plural(len(kernel.late) - 1, 'line')} more" if len(kernel.late) > 1 else ""
        yield Note(Badge("late", "complained late"), kernel.name, _shorten(kernel.late[0]) + more, "kernels")
    for one in kernel.expectations:
        if one.met is not Met.MET:
            yield Note(Badge("late", "expectation"), kernel.name, str(one), "kernels")


def _groups(result: Result) -> Iterator[Group]:
    for status in NOTED:
        notes = [note for cell in result.cells for note in _notes(result, cell, status)]
        if notes:
            yield Group(tuple(notes[:MOST_NOTES]), max(0, len(notes) - MOST_NOTES))


def _notes(result: Result, cell: CellResult, status: Status) -> Iterator[Note]:
    """Nothing is said of cells that prove nothing because a kernel does not run: the kernel is noted."""
    several = len(result.candidates) > 1
    for name, one in cell.candidates.items():
        runs = all(result.kernels[each].state is KernelState.MEASURED for each in (result.reference, name))
        if one.status is status and not one.accepted and (runs or status is not Status.INVALID):
            said = f"{name}: {one.reason}" if several else one.reason
            yield Note(badge(status), cell.id, _shorten(said), anchor(cell))


def _shorten(reason: str) -> str:
    """The first line, and as much of it as is read at a glance: a cell has all."""
    return textwrap.shorten(reason.partition("\n")[0], LONGEST_REASON, placeholder=" …")


def _tallies(result: Result) -> tuple[Tally, ...]:
    counts = Counter(one.status for cell in result.cells for one in cell.candidates.values())
    return tuple(Tally(badge(status), counts[status], status.meaning) for status in Status if counts[status])


def _state(result: Result) -> str:
    """Said if the run did not come to its end."""
    if result.course.interrupted:
        done = plural(sum(len(cell.rounds) for cell in result.cells), "round")
        return f"The run was interrupted, with {done} measured; scripts/run --resume goes on with it."
    return ""
