# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict on a terminal: the answer, what has to be read, and a line for each workload.

text.py has every figure; it is printed by --verbose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from guestloop.compare import Status
from guestloop.ground.words import listed, plural
from guestloop.report.lines import RED, fit, paint, paint_answer, paint_status
from guestloop.report.notes import MOST_NOTES, Note, cell_notes, kernel_notes, shorten
from guestloop.report.plain import clean, one_line
from guestloop.report.results import KernelResult, Result

MOST_LINES = 2
"""Of one note; the cell has all of it."""

DETAILS = 6
"""Lines of the compiler, the hunk or the console of a kernel that could not be measured."""

LISTED = 3
"""Cells of those that are open or were skipped; the page has all."""

WIDTH = max(map(len, Status)) + 2
"""Of the column with the status."""


def render_brief(result: Result, out: Path | None = None, *, colour: bool = False) -> str:
    """What is printed when a run is over, without a final newline; ``out`` is where the files are."""
    answer = one_line(result.summary)
    parts = (
        fit(paint_answer(result.verdict, answer) if colour else answer),
        [*_kernels(result, colour), *_cells(result, colour), *_open(result, colour)],
        list(_workloads(result)),
        _left_out(result),
        _files(out),
    )
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _kernels(result: Result, colour: bool) -> Iterator[str]:
    for note in kernel_notes(result):
        word = note.status.replace("-", " ")
        said = paint(word, RED) if colour else word
        yield from fit(f"{said}  {one_line(note.about)}: {one_line(note.reason)}", hang="  ")
        kernel = result.kernels.get(note.about)
        if kernel and note.reason and kernel.reason:
            yield from (f"    {line}" for line in _details(kernel))


def _details(kernel: KernelResult) -> list[str]:
    lines = [clean(line).rstrip() for line in (*kernel.details, *kernel.console[-DETAILS:])]
    more = len(lines) - DETAILS
    return [*lines[:DETAILS], *([f"and {plural(more, 'line')} more"] if more > 0 else [])]


def _cells(result: Result, colour: bool) -> Iterator[str]:
    for status, notes in cell_notes(result).items():
        for note in notes[:MOST_NOTES]:
            yield from _note(status, note, colour)
        if len(notes) > MOST_NOTES:
            yield f"{'':{WIDTH}}and {plural(len(notes) - MOST_NOTES, 'other')}"


def _note(status: Status, note: Note, colour: bool) -> list[str]:
    lines = fit(f"{one_line(note.about)}: {one_line(note.reason)}", _word(status, colour), " " * (WIDTH + 2))
    return lines[:MOST_LINES]


def _word(status: Status, colour: bool) -> str:
    padded = f"{status:{WIDTH}}"
    return padded.replace(status, paint_status(status)) if colour else padded


def _open(result: Result, colour: bool) -> Iterator[str]:
    """Cells that need more rounds, which are named; and those that could not be tested here, with why."""
    for status in (Status.INCONCLUSIVE, Status.SKIPPED):
        found = [
            (cell.id, one.reason)
            for cell in result.cells
            for one in cell.candidates.values()
            if one.status is status
        ]
        cells = list(dict.fromkeys(cell for cell, _ in found))
        if cells:
            why = f" ({one_line(shorten(found[0][1]))})" if status is Status.SKIPPED else ""
            said = f"{plural(len(cells), 'cell')}: {listed(cells, LISTED)}{why}"
            yield from fit(said, _word(status, colour), " " * (WIDTH + 2))


def _workloads(result: Result) -> Iterator[str]:
    """``asyncpf: 2 fewer, 5 same, 4 cannot differ``; of several candidates each has a part."""
    tests = list(dict.fromkeys(cell.cell.test for cell in result.cells))
    width = max(map(len, tests), default=0) + 2
    for test in tests:
        counts: dict[str, Counter[Status]] = {}
        for cell in result.cells:
            if cell.cell.test == test:
                for name, one in cell.candidates.items():
                    counts.setdefault(name, Counter())[one.status] += 1
        said = [_counted(one_line(name) if len(counts) > 1 else "", own) for name, own in counts.items()]
        yield from fit("; ".join(said), f"{test:{width}}", " " * width)


def _counted(name: str, counts: Counter[Status]) -> str:
    said = ", ".join(f"{counts[status]} {status.replace('-', ' ')}" for status in Status if counts[status])
    return f"{name}: {said}" if name else said


def _left_out(result: Result) -> list[str]:
    return [line for item in result.left_out for line in fit(one_line(item), "left out: ", "  ")]


def _files(out: Path | None) -> list[str]:
    return [f"{out}/report.html has every figure; so has scripts/compare --verbose {out}"] if out else []
