# SPDX-License-Identifier: GPL-2.0-or-later
"""The rate of a path in a workload from kernel to kernel, and where it changed with certainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from guestloop.compare import Calibration, Change, Judgement, Subject, Weight, judge
from guestloop.compare.error_budget import ErrorBudget
from guestloop.compare.statements import LEAST_REQUESTS, MARGINS, TOTAL, TOTAL_MARGINS, Statement
from guestloop.history.pairs import Pair, of_rates, paired
from guestloop.history.pooled import pool, pool_scatter
from guestloop.history.rates import Rate, paths_of, rate_of, sample_of, scatter_in, weight_of
from guestloop.history.series import Series, SeriesKernel
from guestloop.history.workloads import Workload, workloads_of
from guestloop.results.cells import Cell
from guestloop.stats.samples import Scatter


@dataclass(frozen=True)
class Point:
    """The rate of a path on one kernel, the mean over the cells of its workload. ``absent``: it has no such
    path. ``rounds`` are all that it rests on.
    """

    kernel: SeriesKernel
    rate: Rate
    absent: bool
    rounds: int


@dataclass(frozen=True)
class Step:
    """Two neighbours, and what is said of them; ``judgement`` is None if they have no rounds of like load."""

    before: SeriesKernel
    after: SeriesKernel
    judgement: Judgement | None

    @property
    def change(self) -> Change:
        return self.judgement.change if self.judgement else Change.OPEN

    @property
    def changed(self) -> bool:
        return self.change in (Change.MORE, Change.FEWER)


@dataclass(frozen=True)
class Trend:
    """A path, or TOTAL, in a workload. ``cells`` are those that it is counted in: where requests of the path
    come from what the test itself does, they are left out. There is a step between each two points.
    """

    workload: Workload
    path: str
    weight: Weight
    cells: tuple[Cell, ...]
    points: tuple[Point, ...]
    steps: tuple[Step, ...]

    @property
    def changed(self) -> bool:
        return any(step.changed for step in self.steps)

    @property
    def busy(self) -> bool:
        """Some kernel had a request."""
        return any(point.rate.sample.total for point in self.points)


@dataclass(frozen=True)
class _Stated:
    """A step before it is judged."""

    before: SeriesKernel
    after: SeriesKernel
    statement: Statement
    scatter: Scatter


@dataclass(frozen=True)
class _Draft:
    """A trend before it is judged; steps are None where there are no rounds of like load."""

    workload: Workload
    path: str
    weight: Weight
    cells: tuple[Cell, ...]
    stated: tuple[_Stated | None, ...]


def trends_of(series: Series, calibration: Calibration) -> tuple[Trend, ...]:
    """All paths that were seen or are judged, by workload, the busiest first.

    The error of all claims about one kernel and its predecessor is that of a verdict, and divided in the same
    way. The looks at the rounds, while they were measured, count as there.
    """
    drafts = [draft for workload in workloads_of(series) for draft in _drafts(workload, calibration)]
    statements: dict[str, list[Statement]] = {}
    for one in (each for draft in drafts for each in draft.stated if each):
        statements.setdefault(one.after.label, []).append(one.statement)
    looks = len(series.looks)
    budgets = {label: ErrorBudget.divided(own, looks) for label, own in statements.items()}
    return tuple(_trend(draft, calibration, budgets) for draft in drafts)


def _drafts(workload: Workload, calibration: Calibration) -> list[_Draft]:
    rounds = {
        cell.id: [item for kernel in workload.kernels for item in kernel.rated(cell)]
        for cell in workload.cells
    }
    pairs = [
        {cell.id: of_rates(paired(before.on(cell), after.on(cell))) for cell in workload.cells}
        for before, after in pairwise(workload.kernels)
    ]
    found = []
    for path in paths_of(chain.from_iterable(rounds.values())):
        cells = tuple(cell for cell in workload.cells if weight_of(path, rounds[cell.id]) is not Weight.SHOWN)
        if cells:
            weight = weight_of(path, chain.from_iterable(rounds[cell.id] for cell in cells))
            stated = tuple(
                _state(workload, path, weight, neighbours, [pair[cell.id] for cell in cells], calibration)
                for neighbours, pair in zip(pairwise(workload.kernels), pairs, strict=True)
            )
            found.append(_Draft(workload, path, weight, cells, stated))
    return found


def _state(
    workload: Workload,
    path: str,
    weight: Weight,
    neighbours: tuple[SeriesKernel, SeriesKernel],
    cells: Sequence[Pair],
    calibration: Calibration,
) -> _Stated | None:
    """What is compared between neighbours, in all cells in which they have rounds of like load."""
    pairs = [pair for pair in cells if pair[0]]
    if not pairs:
        return None
    sides = [[sample_of(path, pair[side]) for pair in pairs] for side in (0, 1)]
    scatter = pool_scatter(sides, [scatter_in(path, pair, calibration) for pair in pairs])
    before, after = map(pool, sides)
    total = pool([sample_of(TOTAL, pair[0]) for pair in pairs]).rate
    least = LEAST_REQUESTS * sum(len(one.counts) / one.exposure for one in sides[0]) / len(pairs)
    margins = TOTAL_MARGINS if path == TOTAL else MARGINS[weight]
    subject = Subject.TOTAL if path == TOTAL else Subject.PATH
    bounds = margins.bounds(before.rate, total, least)
    statement = Statement(path, subject, weight, workload.unit, before, after, bounds)
    return _Stated(*neighbours, statement, scatter)


def _trend(draft: _Draft, calibration: Calibration, budgets: dict[str, ErrorBudget]) -> Trend:
    points = tuple(_point(draft, kernel, calibration) for kernel in draft.workload.kernels)
    neighbours = zip(pairwise(draft.workload.kernels), draft.stated, strict=True)
    steps = tuple(
        Step(before, after, _judge(stated, budgets[after.label]) if stated else None)
        for (before, after), stated in neighbours
    )
    return Trend(draft.workload, draft.path, draft.weight, draft.cells, points, steps)


def _point(draft: _Draft, kernel: SeriesKernel, calibration: Calibration) -> Point:
    rates = [rate_of(draft.path, kernel.rated(cell), calibration) for cell in draft.cells]
    samples = [one.sample for one in rates]
    scatter = pool_scatter([samples], [one.scatter for one in rates])
    rate = Rate(draft.workload.unit, pool(samples), scatter)
    rounds = sum(len(one.counts) for one in samples)
    return Point(kernel, rate, draft.path in kernel.record.absent_paths, rounds)


def _judge(stated: _Stated, budget: ErrorBudget) -> Judgement:
    one = stated.statement
    return judge(one.reference, one.tested, stated.scatter, one.bounds, budget.alpha(one))
