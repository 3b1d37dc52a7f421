# SPDX-License-Identifier: GPL-2.0-or-later
"""On a terminal: the matrix of cells as it fills up, the round that runs, and how long is left.

A cell has a character for each kernel: how many rounds of it are there, or what went wrong. Whether a cell
has changed is judged when a look is over, which takes seconds of CPU that the guests need.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from guestloop.ground.log import can_colour, duration, say, shown_by
from guestloop.job.schedule import Slot
from guestloop.job.sitting import CurrentSitting
from guestloop.job.spawner import NOT_STARTED
from guestloop.job.views import left, number, place, summary, title
from guestloop.report.lines import letters
from guestloop.results.cells import Mmu
from guestloop.results.records import Round

LEAST_COLUMNS = 60
"""Of the terminal; lines are better on a narrower one."""

STATUS_LINES = 3
"""Below the matrix, beside a line for each round that runs: how far it is, and the key."""

NAME = 24
"""Columns of the name of a variant where not all of it fits."""

BARS = {100: 24, 0: 8}
"""Columns of the progress bar, by those that the terminal has at least."""

REDRAWS_PER_S = 1


class Matrix:
    """What is known of each cell: what its rounds on each kernel came to. Drawn by rich."""

    def __init__(self, sitting: CurrentSitting, room: tuple[int, int]) -> None:
        self._sitting, self._columns, self._lines = sitting, *room
        self._kernels = tuple(kernel.name for kernel in sitting.plan.kernels.measured)
        self._rounds: dict[tuple[str, str], list[Round]] = {}
        for item in sitting.rounds:
            self._add(item)
        self._running: dict[str, tuple[Slot, float]] = {}  # by label, with the time since when
        self._latest = time.monotonic()
        self._left_s = 0.0

    def started(self, slot: Slot) -> None:
        self._latest = time.monotonic()
        self._running[slot.label] = slot, self._latest
        self._left_s = self._sitting.rest_s

    def ended(self, slot: Slot, record: Round | None, took_s: float) -> None:
        self._running.pop(slot.label, None)
        if record:
            self._add(record)
        if not record or record.is_wrong or record.is_invalid:
            say(f"{title(slot)}: {summary(record)} [{duration(took_s)}]")

    def not_started(self, slot: Slot) -> None:
        say(f"{title(slot)}: {NOT_STARTED}")

    def _add(self, item: Round) -> None:
        self._rounds.setdefault((item.cell.id, item.kernel), []).append(item)

    def __rich__(self) -> RenderableType:
        return Group(self._matrix(), Text(), *self._runs(), self._bar(), self._key())

    def _matrix(self) -> RenderableType:
        rows = {test: self._variants(test) for test in self._tests()}
        heights = [len(variants) + 1 for variants in rows.values()]
        longest = max((len(name) for variants in rows.values() for name in variants), default=0)
        room = self._lines - STATUS_LINES - self._sitting.lane_count - 2
        if (name := self._name_width(longest, len(rows))) and max(heights, default=0) <= room:
            grid = Table.grid(padding=(0, 3))
            grid.add_row(*(self._table(test, variants, name) for test, variants in rows.items()))
            return grid
        name = self._name_width(longest, 1)
        if name and sum(heights) <= room:
            return Group(*(self._table(test, variants, name) for test, variants in rows.items()))
        return self._sums()

    def _tests(self) -> list[str]:
        return list(dict.fromkeys(cell.test for cell in self._sitting.plan.cells))

    def _modes(self) -> list[Mmu]:
        return [mode for mode in Mmu if any(cell.mmu is mode for cell in self._sitting.plan.cells)]

    def _variants(self, test: str) -> dict[str, dict[Mmu, str]]:
        """The ids of the cells of a test, by variant and mode."""
        rows: dict[str, dict[Mmu, str]] = {}
        for cell in self._sitting.plan.cells:
            if cell.test == test:
                rows.setdefault(cell.name, {})[cell.mmu] = cell.id
        return rows

    def _name_width(self, longest: int, tables: int) -> int:
        """How many columns a name has where so many tables are beside each other; 0: they do not fit."""
        modes = sum(max(len(mode), len(self._kernels)) + 2 for mode in self._modes())
        room = (self._columns + 3) // max(tables, 1) - 3 - 2 - modes
        return min(longest, room) if room >= min(longest, NAME) else 0

    def _table(self, test: str, variants: Mapping[str, Mapping[Mmu, str]], name: int) -> Table:
        """A row for each variant."""
        table = _new_table(test, self._modes(), name)
        for variant, cells in variants.items():
            table.add_row(
                Text(variant, overflow="ellipsis", no_wrap=True),
                *(self._cell(cells[mode]) if mode in cells else Text() for mode in self._modes()),
            )
        return table

    def _cell(self, cell: str) -> Text:
        text = Text()
        for kernel in self._kernels:
            text.append(*self._mark(cell, kernel))
        return text

    def _mark(self, cell: str, kernel: str) -> tuple[str, str]:
        """A character and its style."""
        rounds = list(self._rounds.get((cell, kernel), ()))
        running = [(slot.cell.id, slot.kernel) for slot, _ in self._running.values()]
        if any(item.is_wrong for item in rounds):
            return "x", "bold red"
        if (cell, kernel) in running:
            return ">", "bold cyan"
        if not rounds:
            return ".", "dim"
        if all(item.is_skipped for item in rounds):
            return "-", "dim"
        good = sum(not item.is_invalid for item in rounds)
        return (str(min(good, 9)), "green") if good else ("!", "yellow")

    def _sums(self) -> Table:
        """Where not all variants fit: how many cells of a test have rounds on every kernel."""
        table = _new_table("cells", self._modes(), NAME)
        for test in self._tests():
            cells = {mode: self._ids(test, mode) for mode in self._modes()}
            table.add_row(test, *(self._sum(ids) for ids in cells.values()))
        return table

    def _ids(self, test: str, mode: Mmu) -> list[str]:
        return [cell.id for cell in self._sitting.plan.cells if (cell.test, cell.mmu) == (test, mode)]

    def _sum(self, cells: list[str]) -> Text:
        done = sum(all((cell, kernel) in self._rounds for kernel in self._kernels) for cell in cells)
        wrong = sum(any(self._mark(cell, kernel)[0] == "x" for kernel in self._kernels) for cell in cells)
        text = Text(f"{done}/{len(cells)}" if cells else "")
        return text.append(f" {wrong}x", "bold red") if wrong else text

    def _runs(self) -> list[Text]:
        if not self._running:
            return [Text("between two rounds", "dim")]
        return [_run(slot, since) for slot, since in self._running.values()]

    def _bar(self) -> RenderableType:
        if not (self._sitting.look and self._running):
            return Text()
        total, (last, _) = len(self._sitting.look.slots), list(self._running.values())[-1]
        grid = Table.grid(padding=(0, 2))
        width = next(bar for columns, bar in BARS.items() if self._columns >= columns)
        bar = ProgressBar(
            total=total, completed=self._sitting.position(last) - 1, width=width, complete_style="cyan"
        )
        grid.add_row(bar, Text(f"{place(self._sitting, last)}{self._left()}", no_wrap=True))
        return grid

    def _left(self) -> str:
        left_s = max(0.0, self._left_s - (time.monotonic() - self._latest))
        return left(self._sitting, left_s, _minutes)

    def _key(self) -> Text:
        names = ", ".join(f"{letter} {name}" for name, letter in letters(self._kernels).items())
        key = f"{names}: rounds of each; > runs, x wrong, ! proves nothing, - skipped"
        return Text(key, "dim", no_wrap=True, overflow="ellipsis")


def _new_table(title: str, modes: list[Mmu], name: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(title, width=max(name, len(title)))
    for mode in modes:
        table.add_column(str(mode))
    return table


def _run(slot: Slot, since: float) -> Text:
    """A round that runs."""
    took = duration(time.monotonic() - since)
    return Text(f"{slot.cell.id} on {slot.kernel}, {number(slot)}: {took}", no_wrap=True)


def _minutes(seconds: float) -> str:
    """What is estimated is not told to the tenth of a second."""
    return f"{round(seconds)} s" if seconds < 60 else f"{round(seconds / 60)} min"


class _Console(Console):
    """Leaves the cursor visible: a run that is killed could not bring it back."""

    def show_cursor(self, show: bool = True) -> bool:
        return show


@contextmanager
def live_view(sitting: CurrentSitting) -> Iterator[Matrix | None]:
    """The matrix on standard error while the body runs; None if the terminal is too narrow."""
    console = _Console(file=sys.stderr, no_color=not can_colour(sys.stderr), highlight=False)
    if console.width < LEAST_COLUMNS:
        yield None
        return
    matrix = Matrix(sitting, (console.width, console.height))
    with (
        Live(matrix, console=console, refresh_per_second=REDRAWS_PER_S, transient=True),
        shown_by(lambda line: console.print(Text(line), soft_wrap=True)),
    ):
        yield matrix
