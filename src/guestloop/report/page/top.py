# SPDX-License-Identifier: GPL-2.0-or-later
"""The top of the page: the verdict, how many cells say what, and what has to be read first."""

from __future__ import annotations

from dataclasses import dataclass

from guestloop.ground.words import plural
from guestloop.report.notes import MOST_NOTES, Note, cell_notes, kernel_notes
from guestloop.report.page.badges import Badge, Tally, tallies
from guestloop.report.page.matrix import anchor
from guestloop.report.results import Result


@dataclass(frozen=True)
class Line:
    """One thing that has to be read, with its place on the page."""

    badge: Badge
    name: str
    reason: str
    anchor: str


@dataclass(frozen=True)
class Group:
    """Lines of one status, and how many more there are."""

    lines: tuple[Line, ...]
    more: int


@dataclass(frozen=True)
class Top:
    """``word`` is the verdict, ``rest`` the rest of the answer without its examples, which are in groups.

    ``tallies`` are of the cells of all candidates together.
    """

    badge: Badge
    word: str
    rest: str
    kernels: tuple[Line, ...]
    groups: tuple[Group, ...]
    tallies: tuple[Tally, ...]
    state: str


def top(result: Result) -> Top:
    """What is understood in five seconds."""
    word, _, rest = result.summary.partition(": ")
    return Top(
        Badge(result.verdict),
        word,
        rest,
        tuple(map(_line, kernel_notes(result))),
        tuple(
            Group(tuple(map(_line, notes[:MOST_NOTES])), max(0, len(notes) - MOST_NOTES))
            for notes in cell_notes(result).values()
        ),
        tallies(one.status for cell in result.cells for one in cell.candidates.values()),
        _state(result),
    )


def _line(note: Note) -> Line:
    return Line(Badge(note.status), note.about, note.reason, anchor(note.cell) if note.cell else "kernels")


def _state(result: Result) -> str:
    """Said if the run did not come to its end."""
    if result.course.interrupted:
        done = plural(sum(len(cell.rounds) for cell in result.cells), "round")
        return f"The run was interrupted, with {done} measured; scripts/run --resume goes on with it."
    return ""
