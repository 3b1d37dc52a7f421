# SPDX-License-Identifier: GPL-2.0-or-later
"""Which cells are one workload: those of a test in one MMU mode whose work is counted in one unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from guestloop.compare.drivers import work_of
from guestloop.history.series import Series, SeriesKernel
from guestloop.results.cells import Cell, Mmu


@dataclass(frozen=True)
class Workload:
    """``kernels`` have rounds that give rates in all of ``cells``, which are the same for each of them.

    ``left_out`` are cells that some of these kernels have no rates in.
    """

    test: str
    mmu: Mmu
    unit: str
    cells: tuple[Cell, ...]
    left_out: tuple[Cell, ...]
    kernels: tuple[SeriesKernel, ...]


def workloads_of(series: Series) -> tuple[Workload, ...]:
    """All that two kernels or more can be compared in, by test and unit, then in the order of MMU modes."""
    groups: dict[tuple[str, str], dict[Mmu, list[Cell]]] = {}
    for cell in series.cells:
        if unit := _unit(series, cell):
            groups.setdefault((cell.test, unit), {}).setdefault(cell.mmu, []).append(cell)
    found = (
        _workload(series, test, mmu, unit, modes[mmu])
        for (test, unit), modes in groups.items()
        for mmu in Mmu
        if mmu in modes
    )
    return tuple(one for one in found if len(one.kernels) > 1)


def _unit(series: Series, cell: Cell) -> str:
    """What the work of a cell is counted in, where all kernels count the same; else nothing."""
    rated = [rounds for kernel in series.kernels if (rounds := kernel.rated(cell))]
    units = {work_of(rounds, rounds).unit for rounds in rated}
    return units.pop() if len(units) == 1 else ""


def _workload(series: Series, test: str, mmu: Mmu, unit: str, cells: Iterable[Cell]) -> Workload:
    """A kernel that has rates in less than half of the cells is left out; else it would leave few cells."""
    all_cells = {cell.id: cell for cell in cells}
    rated = {
        kernel.label: {name for name, cell in all_cells.items() if kernel.rated(cell)}
        for kernel in series.kernels
    }
    kernels = tuple(one for one in series.kernels if 2 * len(rated[one.label]) >= len(all_cells))
    shared = _shared(all_cells, [rated[one.label] for one in kernels])
    return Workload(
        test,
        mmu,
        unit,
        tuple(cell for name, cell in all_cells.items() if name in shared),
        tuple(cell for name, cell in all_cells.items() if name not in shared),
        kernels if shared else (),
    )


def _shared(cells: Mapping[str, Cell], rated: Iterable[set[str]]) -> set[str]:
    return set(cells).intersection(*rated)
