# SPDX-License-Identifier: GPL-2.0-or-later
"""The plots, by workload: a row for each path, a column for each MMU mode."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from guestloop.compare import Weight
from guestloop.compare.statements import TOTAL
from guestloop.ground.words import plural
from guestloop.history.chart import Chart, draw
from guestloop.history.series import Series
from guestloop.history.trends import Trend
from guestloop.results.cells import Mmu

LEAST_SHARE = 0.02
"""Paths that are not judged and did not change are drawn from this share of all requests on."""


@dataclass(frozen=True)
class ModeView:
    """An MMU mode of a workload: how many cells its rates are the mean of, and which have no rates."""

    mmu: Mmu
    cells: str
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class RowView:
    """A path, with its chart in each mode; None where it is not drawn."""

    path: str
    weight: Weight
    charts: tuple[Chart | None, ...]


@dataclass(frozen=True)
class SectionView:
    """A test whose work is counted in one unit. ``quiet`` are paths with few requests, ``never`` those that
    are judged and had none on any kernel; with their modes.
    """

    test: str
    unit: str
    modes: tuple[ModeView, ...]
    rows: tuple[RowView, ...]
    quiet: tuple[str, ...]
    never: tuple[str, ...]


def sections_of(series: Series, trends: Sequence[Trend]) -> tuple[SectionView, ...]:
    """All workloads, in the order of their trends."""
    groups: dict[tuple[str, str], list[Trend]] = {}
    for trend in trends:
        groups.setdefault((trend.workload.test, trend.workload.unit), []).append(trend)
    return tuple(_section(series, *key, own) for key, own in groups.items())


def _section(series: Series, test: str, unit: str, trends: Sequence[Trend]) -> SectionView:
    modes = {trend.workload.mmu: trend for trend in trends if trend.path == TOTAL}
    rows: dict[str, dict[Mmu, Trend]] = {}
    left = []
    for trend in trends:
        if _is_drawn(trend, modes[trend.workload.mmu]):
            rows.setdefault(trend.path, {})[trend.workload.mmu] = trend
        else:
            left.append(trend)
    return SectionView(
        test,
        unit,
        tuple(map(_mode, modes.values())),
        tuple(sorted((_row(series, path, own, tuple(modes)) for path, own in rows.items()), key=_rank)),
        _named(trend for trend in left if trend.busy),
        _named(trend for trend in left if not trend.busy and trend.weight is Weight.JUDGED),
    )


def _is_drawn(trend: Trend, total: Trend) -> bool:
    """Whether it is judged and there is something, has changed, or is a part of all that matters."""
    if trend.changed or trend.path == TOTAL:
        return True
    whole = {point.kernel.label: point.rate.sample.rate for point in total.points}
    shares = (
        point.rate.sample.rate >= LEAST_SHARE * whole[point.kernel.label]
        for point in trend.points
        if point.rate.sample.rate
    )
    return trend.weight is not Weight.SHOWN and (trend.busy if trend.weight is Weight.JUDGED else any(shares))


def _mode(total: Trend) -> ModeView:
    workload = total.workload
    return ModeView(
        workload.mmu,
        plural(len(workload.cells), "cell"),
        tuple(cell.name for cell in workload.left_out),
    )


def _row(series: Series, path: str, trends: dict[Mmu, Trend], modes: tuple[Mmu, ...]) -> RowView:
    charts = tuple(draw(trends[mode], series.kernels) if mode in trends else None for mode in modes)
    weight = min((trend.weight for trend in trends.values()), key=list(Weight).index)
    return RowView(path, weight, charts)


def _rank(row: RowView) -> tuple[bool, bool, bool]:
    """What changed goes before what did not; otherwise the busiest first."""
    changed = any(chart.trend.changed for chart in row.charts if chart)
    return row.path != TOTAL, row.weight is not Weight.JUDGED, not changed


def _named(trends: Iterable[Trend]) -> tuple[str, ...]:
    modes: dict[str, list[str]] = {}
    for trend in trends:
        modes.setdefault(trend.path, []).append(trend.workload.mmu)
    return tuple(f"{path} ({', '.join(own)})" for path, own in modes.items())
