# SPDX-License-Identifier: GPL-2.0-or-later
"""All cells over all kernels: the rate of all flush requests, and the status against the kernel before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from guestloop.compare import CandidateVerdict, render_rate
from guestloop.compare.drivers import work_of
from guestloop.compare.statements import TOTAL
from guestloop.history.neighbours import Neighbours
from guestloop.history.rates import sample_of
from guestloop.history.series import Series, SeriesKernel
from guestloop.report.page.badges import Badge
from guestloop.results.cells import Cell


@dataclass(frozen=True)
class Entry:
    """One kernel in one cell. ``rate`` is empty where no round gives one, ``badge`` None where there is no
    kernel to compare with.
    """

    rate: str
    badge: Badge | None
    title: str


@dataclass(frozen=True)
class Row:
    """A cell: its MMU mode and variant, what its work is counted in, and an entry for each kernel."""

    mmu: str
    variant: str
    unit: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Matrix:
    """The cells of one test."""

    test: str
    rows: tuple[Row, ...]


def matrices_of(series: Series, neighbours: Sequence[Neighbours]) -> tuple[Matrix, ...]:
    """A matrix for each test, cells in the order of their names."""
    seen = {one.after.label: _by_cell(one) for one in neighbours}
    cells = sorted(series.cells, key=lambda cell: (cell.test, cell.name, cell.mmu))
    return tuple(
        Matrix(test, tuple(_row(series, cell, seen) for cell in own))
        for test, own in groupby(cells, lambda cell: cell.test)
    )


def _by_cell(one: Neighbours) -> Mapping[str, CandidateVerdict]:
    return {cell.cell.id: cell.worst for cell in one.verdict.cells} if one.verdict else {}


def _row(series: Series, cell: Cell, seen: Mapping[str, Mapping[str, CandidateVerdict]]) -> Row:
    rounds = [item for kernel in series.kernels for item in kernel.rated(cell)]
    unit = work_of(rounds, rounds).unit if rounds else ""
    entries = tuple(
        _entry(kernel, cell, seen.get(kernel.label, {}).get(cell.id)) for kernel in series.kernels
    )
    return Row(cell.mmu, cell.name, unit, entries)


def _entry(kernel: SeriesKernel, cell: Cell, verdict: CandidateVerdict | None) -> Entry:
    rounds = kernel.rated(cell)
    rate = render_rate(sample_of(TOTAL, rounds).rate) if rounds else ""
    reason = f"{verdict.status.replace('-', ' ')}: {verdict.reason}" if verdict else ""
    return Entry(rate, Badge(verdict.status) if verdict else None, f"{kernel.label}, {cell.id}: {reason}")
