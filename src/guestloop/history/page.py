# SPDX-License-Identifier: GPL-2.0-or-later
"""The history as a page: what changed from kernel to kernel, and every path over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from guestloop.compare import Calibration, Change
from guestloop.ground.words import listed, plural
from guestloop.history.changes import ChangeView, changes_of
from guestloop.history.matrix import Matrix, matrices_of
from guestloop.history.neighbours import Neighbours, neighbours_of
from guestloop.history.runs import Run
from guestloop.history.sections import SectionView, sections_of
from guestloop.history.series import Series, SeriesKernel, series_of
from guestloop.history.trends import Trend, trends_of
from guestloop.report.page.filling import fill
from guestloop.results.good_rounds import RunClass

TEMPLATES = Path(__file__).parent / "templates"

LISTED = 5
MOST_RUNS = 50
"""Of one series that are listed."""


@dataclass(frozen=True)
class KernelRow:
    """A kernel in the table of all."""

    label: str
    release: str
    source: str
    build: str
    cells: int
    rounds: int
    dates: str


@dataclass(frozen=True)
class RunRow:
    """A run that the series was made of."""

    id: str
    started: str
    made_by: str
    profile: str
    kernels: str
    rounds: int


@dataclass(frozen=True)
class SeriesView:
    """All kernels of one setting. ``regressed``: some kernel is a regression against the one before it.

    ``patched`` are kernels with a series on top, which are not shown. ``calibrated``: how widely rounds
    scatter was known before.
    """

    id: str
    setting: str
    span: str
    regressed: bool
    answer: str
    kernels: tuple[KernelRow, ...]
    patched: str
    changes: tuple[ChangeView, ...]
    sections: tuple[SectionView, ...]
    matrices: tuple[Matrix, ...]
    runs: tuple[RunRow, ...]
    more_runs: int
    calibrated: bool


def render_history(runs: Sequence[Run], calibration_of: Callable[[RunClass], Calibration]) -> str:
    """The page of a history of one run or more; the setting with most kernels comes first."""
    series = sorted(series_of(runs), key=lambda one: -len(one.kernels))
    views = [_view(one, calibration_of(one.run_class)) for one in series]
    return fill("history.html", TEMPLATES, views=views, runs=len(runs))


def _view(series: Series, calibration: Calibration) -> SeriesView:
    neighbours, trends = neighbours_of(series, calibration), trends_of(series, calibration)
    regressions = _regressions(neighbours)
    return SeriesView(
        id=series.setting.id,
        setting=str(series.setting),
        span=_span([kernel.label for kernel in series.kernels]),
        regressed=bool(regressions),
        answer=" ".join([_contents(series), _against_before(regressions, neighbours, trends)]),
        kernels=tuple(map(_kernel, series.kernels)),
        patched=listed(series.patched, LISTED),
        changes=changes_of(neighbours, trends),
        sections=sections_of(series, trends),
        matrices=matrices_of(series, neighbours),
        runs=tuple(map(_run, reversed(series.runs[-MOST_RUNS:]))),
        more_runs=max(0, len(series.runs) - MOST_RUNS),
        calibrated=bool(calibration.tests),
    )


def _span(labels: Sequence[str]) -> str:
    """``6 kernels, 6.1.158-1 to 7.2.13-1``."""
    if not labels:
        return "no kernel without patches"
    counted = plural(len(labels), "kernel")
    return f"{counted}, {labels[0]} to {labels[-1]}" if len(labels) > 1 else f"{counted}, {labels[0]}"


def _contents(series: Series) -> str:
    wrong = [kernel.label for kernel in series.kernels if kernel.is_wrong]
    if wrong:
        return f"Something was wrong on {listed(wrong, LISTED)}."
    checked = any(kernel.rounds for kernel in series.kernels)
    return "Contents are correct wherever they were checked." if checked else "Nothing was measured."


def _regressions(neighbours: Sequence[Neighbours]) -> list[str]:
    """``7.2.13-1 (2 cells)``."""
    found = []
    for one in neighbours:
        cells = [cell for cell in one.verdict.cells if cell.status.regression] if one.verdict else []
        if cells:
            found.append(f"{one.after.label} ({plural(len(cells), 'cell')})")
    return found


def _against_before(
    regressions: Sequence[str], neighbours: Sequence[Neighbours], trends: Sequence[Trend]
) -> str:
    if not neighbours:
        return "There is no other kernel to compare it with."
    said = "No kernel is a regression against the one before it."
    if regressions:
        said = f"A regression against the kernel before: {listed(regressions, LISTED)}."
    changed = Counter(step.change for trend in trends for step in trend.steps)
    steps = f"{changed[Change.FEWER]} to fewer requests, {changed[Change.MORE]} to more"
    return f"{said} Certain changes of a call path in a workload: {steps}."


def _kernel(one: SeriesKernel) -> KernelRow:
    record = one.record
    suite = f" ({record.origin.suite})" if record.origin.suite else ""
    first, last = (one.dates[0], one.dates[-1]) if one.dates else ("", "")
    return KernelRow(
        one.label,
        record.release,
        f"{record.origin.name or record.base}{suite}",
        record.identity,
        len({item.cell.id for item in one.rounds}),
        len(one.rounds),
        first if first == last else f"{first} to {last}",
    )


def _run(run: Run) -> RunRow:
    kernels = listed([one.name for one in run.kernels], LISTED)
    return RunRow(run.id, run.started, str(run.made_by), run.profile, kernels, len(run.rounds))
