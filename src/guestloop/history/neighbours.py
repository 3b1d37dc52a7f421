# SPDX-License-Identifier: GPL-2.0-or-later
"""Each kernel of a series compared with the one before it: the verdict that a run of both would have had."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from guestloop.compare import Calibration, Verdict, compare
from guestloop.history.pairs import paired
from guestloop.history.series import Series, SeriesKernel
from guestloop.results.plan import Kernels, Plan
from guestloop.results.records import Round


@dataclass(frozen=True)
class Neighbours:
    """A kernel, the one before it, and the verdict; None if they have no cell in common."""

    before: SeriesKernel
    after: SeriesKernel
    verdict: Verdict | None


def neighbours_of(series: Series, calibration: Calibration) -> tuple[Neighbours, ...]:
    """All of a series, from the second kernel on."""
    return tuple(
        Neighbours(before, after, _verdict(series, before, after, calibration))
        for before, after in pairwise(series.kernels)
    )


def _verdict(
    series: Series, before: SeriesKernel, after: SeriesKernel, calibration: Calibration
) -> Verdict | None:
    cells = tuple(cell for cell in series.cells if before.on(cell) and after.on(cell))
    if not cells:
        return None
    pairs = [paired(before.on(cell), after.on(cell)) for cell in cells]
    rounds = [item for pair in pairs for side in pair for item in side]
    plan = Plan(
        profile="",
        accelerator=series.setting.accelerator,
        host=dict(series.setting.host),
        kernels=Kernels(before.record.planned(before.label), (after.record.planned(after.label),)),
        cells=cells,
        looks=_looks(series, rounds),
    )
    late = {kernel.label: kernel.late for kernel in (before, after) if kernel.late}
    return compare(plan, rounds, late, calibration)


def _looks(series: Series, rounds: list[Round]) -> tuple[int, ...]:
    """One round proves what it proves. Each look that a run had at its rounds has its part of the error.

    No run has more than two rounds for each of its last look; runs that are joined have.
    """
    last = -(-max(item.round for item in rounds) // 2)
    return tuple(sorted({1, *series.looks, *([last] if last > max(series.looks) else [])}))
