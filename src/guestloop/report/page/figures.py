# SPDX-License-Identifier: GPL-2.0-or-later
"""What was counted in a cell: a row for each thing, a column for each kernel, and the rounds as dots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from guestloop.compare import Change, Subject, Weight
from guestloop.ground.words import listed
from guestloop.report.page.plots import Plot, Rates, plot
from guestloop.report.results import CandidateResult, CellResult, Figure

LEAST_SHARE = 0.02
"""Paths that are not judged and did not change are shown from this share of all flush requests on."""

LISTED = 8
"""Rounds whose rates are said in words."""


@dataclass(frozen=True)
class Value:
    """What one kernel has in a row. ``ratio`` and ``change`` are a candidate's; ``absent``: no such path."""

    rate: str
    count: int
    absent: bool = False
    ratio: str = ""
    interval: str = ""
    change: str = ""


@dataclass(frozen=True)
class FigureRow:
    """One thing that was counted, per ``unit``. ``values`` has a column for each kernel, None where it was
    not compared; ``decides``: its change makes the status of the cell; ``label`` says the plot in words.
    """

    name: str
    unit: str
    judged: bool
    decides: bool
    values: tuple[Value | None, ...]
    plot: Plot
    end: str
    label: str

    @property
    def changed(self) -> str:
        """What a candidate does to it, if that is anything: ``more`` before ``fewer`` before ``open``."""
        changes = [value.change for value in self.values if value]
        return next((one for one in (Change.MORE, Change.FEWER, Change.OPEN) if one in changes), "")


def figure_rows(cell: CellResult, kernels: tuple[str, ...]) -> tuple[FigureRow, ...]:
    """What is judged or has changed, and of the rest what is not small; ``kernels`` has the reference first.

    Candidates that were compared with the same rounds of the reference share a row.
    """
    rows: dict[tuple[object, ...], dict[str, Figure]] = {}
    for name, candidate in cell.candidates.items():
        for figure in _shown(candidate):
            key = figure.name, figure.unit, figure.counts[0], figure.exposures[0]
            rows.setdefault(key, {})[name] = figure
    return tuple(_row(kernels, figures) for figures in rows.values())


def _shown(candidate: CandidateResult) -> Iterator[Figure]:
    flushes = sum(sum(one.totals) for one in candidate.figures if one.subject is Subject.TOTAL)
    for one in candidate.figures:
        matters = one.weight is Weight.JUDGED or one.subject is Subject.SHARE or one.p_value < one.alpha
        least = LEAST_SHARE * flushes if one.subject is Subject.PATH else 1
        if matters or sum(one.totals) >= max(1, least):
            yield one


def _row(kernels: tuple[str, ...], figures: Mapping[str, Figure]) -> FigureRow:
    first = next(iter(figures.values()))
    sides = [(first, 0) if index == 0 else (figures.get(name), 1) for index, name in enumerate(kernels)]
    values = tuple(_value(figure, side) if figure else None for figure, side in sides)
    drawn = plot([_rates(figure, side) if figure else None for figure, side in sides])
    return FigureRow(
        name=first.name,
        unit=first.per,
        judged=first.weight is Weight.JUDGED,
        decides=first.weight is not Weight.SHOWN,
        values=values,
        plot=drawn,
        end=first.render_rate(drawn.end),
        label="; ".join(_say(*each) for each in zip(kernels, sides, strict=True) if each[1][0]),
    )


def _rates(figure: Figure, side: int) -> Rates:
    pairs = zip(figure.counts[side], figure.exposures[side], strict=True)
    return Rates([count / exposure for count, exposure in pairs], figure.rates[side], figure.limits[side])


def _value(figure: Figure, side: int) -> Value:
    rate = figure.render_rate(figure.rates[side])
    absent, count = figure.absent[side], figure.totals[side]
    if side == 0 or absent or figure.ratio is None:
        change = figure.change if side and figure.change is not Change.SAME else ""
        return Value(rate, count, absent, change=change)
    change = "" if figure.change is Change.SAME else figure.change
    return Value(rate, count, ratio=_factor(figure.ratio), interval=_interval(figure), change=change)


def _interval(figure: Figure) -> str:
    """The limits of the difference of both rates, as factors of that of the reference: ``0.98 to 1.13``."""
    low, high = (max(0.0, 1 + limit / figure.rates[0]) for limit in figure.increase)
    return f"{_number(low)} to {_number(high)}"


def _factor(ratio: float) -> str:
    return f"\N{MULTIPLICATION SIGN}{_number(ratio)}"


def _number(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 100 else f"{min(ratio, 1e6):.0f}"


def _say(kernel: str, side: tuple[Figure | None, int]) -> str:
    """``patched 0.0031, limits 0.0016 and 0.0056, rounds 0.0031``."""
    figure, index = side
    if figure is None:
        return ""
    seen, render = _rates(figure, index), figure.render_rate
    low, high = map(render, seen.limits)
    rounds = listed([render(rate) for rate in seen.rounds], LISTED)
    return f"{kernel} {render(seen.rate)}, limits {low} and {high}, rounds {rounds}"
