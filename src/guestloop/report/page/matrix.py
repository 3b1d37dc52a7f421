# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix: a table for each test, a row for each variant, a column for each MMU mode."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from guestloop.report.lines import letters
from guestloop.report.page.badges import Badge
from guestloop.report.results import CellResult, Result
from guestloop.results.cells import Mmu


@dataclass(frozen=True)
class Entry:
    """One candidate in one cell, with the place of the cell on the page."""

    badge: Badge
    anchor: str
    title: str


@dataclass(frozen=True)
class Row:
    """A variant: the load or the driver, and the axes that are not usual; None where it has no cell."""

    name: str
    axes: tuple[str, ...]
    entries: tuple[Entry | None, ...]


@dataclass(frozen=True)
class Panel:
    """One test. ``columns`` are letters of candidates, as many for each mode; empty if there is but one."""

    test: str
    modes: tuple[Mmu, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def panels(result: Result) -> tuple[Panel, ...]:
    """All cells of a run, in the order of the plan."""
    modes = tuple(mode for mode in Mmu if any(cell.cell.mmu is mode for cell in result.cells))
    tests = dict.fromkeys(cell.cell.test for cell in result.cells)
    return tuple(_panel(result, test, modes) for test in tests)


def anchor(cell: CellResult) -> str:
    """``asyncpf-direct-read-shared--way-thp``: part of an address, whatever a variant is called."""
    return re.sub(r"[^a-z0-9]", "-", cell.id.lower())


def _panel(result: Result, test: str, modes: tuple[Mmu, ...]) -> Panel:
    variants: dict[str, dict[Mmu, CellResult]] = {}
    for cell in result.cells:
        if cell.cell.test == test:
            variants.setdefault(cell.cell.name, {})[cell.cell.mmu] = cell
    names = [kernel.name for kernel in result.candidates if _is_in_cells(result, kernel.name)]
    marks = letters(result.kernels)
    rows = tuple(_row(variant, cells, modes, names) for variant, cells in variants.items())
    return Panel(test, modes, tuple(marks[name] for name in names) if len(names) > 1 else (), rows)


def _is_in_cells(result: Result, candidate: str) -> bool:
    """One that was not built is in none of them."""
    return any(candidate in cell.candidates for cell in result.cells)


def _row(variant: str, cells: Mapping[Mmu, CellResult], modes: tuple[Mmu, ...], names: list[str]) -> Row:
    name, *axes = variant.split(",")
    return Row(name, tuple(axes), tuple(_entry(cells.get(mode), one) for mode in modes for one in names))


def _entry(cell: CellResult | None, candidate: str) -> Entry | None:
    if not cell or candidate not in cell.candidates:
        return None
    seen = cell.candidates[candidate]
    return Entry(Badge(seen.status), anchor(cell), f"{cell.id}: {seen.status}: {seen.reason}")
