# SPDX-License-Identifier: GPL-2.0-or-later
"""What has to be read first, on a page or a terminal: kernels that do not run, cells that differ."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from guestloop.compare import KernelState, Met, Status
from guestloop.ground.words import plural
from guestloop.report.results import CellResult, KernelResult, Result

NOTED = (
    Status.BROKEN,
    Status.MORE,
    Status.UNEXPLAINED,
    Status.FIXED,
    Status.FEWER,
    Status.MOVED,
    Status.INVALID,
)
"""What is noted, in this order. Cells that are open for want of rounds are many, and those that are the same
are not news: they are counted."""

LATE, UNMET = "complained late", "expectation"
"""Of kernels that were measured."""

MOST_NOTES = 6
"""Of one status."""

LONGEST_REASON = 160
"""Characters: what is read at a glance. A cell has all."""


@dataclass(frozen=True)
class Note:
    """One thing that has to be read. ``about`` is a kernel's name, or ``cell`` the cell that it is about."""

    status: Status | KernelState | str
    about: str
    reason: str
    cell: CellResult | None = None


def kernel_notes(result: Result) -> tuple[Note, ...]:
    """Kernels that could not be measured, complained late, or do not do what their series is for."""
    return tuple(note for kernel in result.kernels.values() for note in _of_kernel(result, kernel))


def cell_notes(result: Result) -> Mapping[Status, tuple[Note, ...]]:
    """All that is noted of cells, by status, for those that occur."""
    found = {status: tuple(_of_cells(result, status)) for status in NOTED}
    return {status: notes for status, notes in found.items() if notes}


def _of_kernel(result: Result, kernel: KernelResult) -> Iterator[Note]:
    if kernel.state is not KernelState.MEASURED:
        name = f"{kernel.name} (the reference)" if kernel.name == result.reference else kernel.name
        yield Note(kernel.state, name, shorten(kernel.reason))
    if kernel.late:
        more = f" and {plural(len(kernel.late) - 1, 'line')} more" if len(kernel.late) > 1 else ""
        yield Note(LATE, kernel.name, shorten(kernel.late[0]) + more)
    for one in kernel.expectations:
        if one.met is not Met.MET:
            yield Note(UNMET, kernel.name, str(one))


def _of_cells(result: Result, status: Status) -> Iterator[Note]:
    """Nothing is said of cells that prove nothing because a kernel does not run: the kernel is noted."""
    several = len(result.candidates) > 1
    running = {name for name, kernel in result.kernels.items() if kernel.state is KernelState.MEASURED}
    for cell in result.cells:
        for name, one in cell.candidates.items():
            runs = {result.reference, name} <= running or status is not Status.INVALID
            if one.status is status and not one.accepted and runs:
                said = f"{name}: {one.reason}" if several else one.reason
                yield Note(status, cell.id, shorten(said), cell)


def shorten(reason: str) -> str:
    """The first line, or as much of it as is read at a glance."""
    return textwrap.shorten(reason.partition("\n")[0], LONGEST_REASON, placeholder=" …")
