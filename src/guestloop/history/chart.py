# SPDX-License-Identifier: GPL-2.0-or-later
"""A trend as a drawing: geometry only. Places from left to right are in per cent, to fit any width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guestloop.compare import Change, render_rate
from guestloop.ground.words import plural
from guestloop.history.series import SeriesKernel
from guestloop.history.trends import Point, Step, Trend

TOP, BOTTOM = 36, 132
"""Of the plot, in pixels from the top; above it are a line of words and one of values."""

HEIGHT = 196
"""With the names of the kernels below, which are turned."""

FIRST, LAST = 15.0, 94.0
"""Where the first and the last kernel stand, in per cent."""

MOST_STRETCH = 2.5
"""An interval that ends beyond so many times the largest rate is cut, to see the rates."""

LONGEST_NAME = 18
MOST_NAMES = 8
MOST_VALUES = 7
"""Of kernels; where there are more, every so many have a name, and those beside a step have a value."""


@dataclass(frozen=True)
class Mark:
    """A kernel: the place of its rate, and of the limits. ``value`` is empty where it is not written."""

    x: str
    y: str
    low: str
    high: str
    value: str
    cut: bool
    absent: bool
    title: str


@dataclass(frozen=True)
class Segment:
    """The way from one kernel to the next; ``word`` says the change, empty if none is certain."""

    x1: str
    y1: str
    x2: str
    y2: str
    kind: str
    word: str
    middle: str


@dataclass(frozen=True)
class Name:
    """A kernel below the plot, and when it was measured."""

    x: str
    label: str
    date: str


@dataclass(frozen=True)
class Chart:
    """One path in one workload; ``label`` says in words what is drawn, ``end`` is the top of its axis."""

    trend: Trend
    marks: tuple[Mark, ...]
    segments: tuple[Segment, ...]
    names: tuple[Name, ...]
    end: str
    label: str

    top, bottom, height = TOP, BOTTOM, HEIGHT


def draw(trend: Trend, kernels: Sequence[SeriesKernel]) -> Chart:
    """The trend; ``kernels`` are all of the series, each of which has its place in every chart of it."""
    places = _places(kernels)
    end = _end(trend.points)
    beside = {kernel.label for step in trend.steps if step.changed for kernel in (step.before, step.after)}
    beside |= {kernel.label for kernel in kernels} if len(kernels) <= MOST_VALUES else {kernels[-1].label}
    return Chart(
        trend,
        tuple(_mark(point, places, end, point.kernel.label in beside) for point in trend.points),
        tuple(_segment(step, trend, places, end) for step in trend.steps),
        tuple(_names(kernels, places)),
        render_rate(end),
        "; ".join([*map(say, trend.points), *(_say_step(step) for step in trend.steps if step.changed)]),
    )


def say(point: Point) -> str:
    """``6.12.117-1: 0.193 (0.174 to 0.213), 8 rounds``."""
    if point.absent:
        return f"{point.kernel.label}: has no such path"
    low, high = map(render_rate, point.rate.limits)
    rounds = plural(point.rounds, "round")
    return f"{point.kernel.label}: {render_rate(point.rate.sample.rate)} ({low} to {high}), {rounds}"


def factor(step: Step) -> str:
    """``x0.32`` with a sign of multiplication, or ``from 0``, or ``to 0``."""
    ratio = step.judgement.ratio if step.judgement else None
    if ratio is None:
        return "from 0"
    return times(ratio) if ratio else "to 0"


def times(ratio: float) -> str:
    """A factor with three digits, or two where it is small."""
    return f"\N{MULTIPLICATION SIGN}{ratio:{'.2g' if ratio < 0.1 else '.3g'}}"


def _say_step(step: Step) -> str:
    return f"{step.change} from {step.before.label} to {step.after.label}, {factor(step)}"


def _places(kernels: Sequence[SeriesKernel]) -> dict[str, float]:
    if len(kernels) == 1:
        return {kernels[0].label: (FIRST + LAST) / 2}
    gap = (LAST - FIRST) / (len(kernels) - 1)
    return {kernel.label: FIRST + gap * index for index, kernel in enumerate(kernels)}


def _end(points: Sequence[Point]) -> float:
    """The top of the axis, above 0."""
    seen = max((point.rate.sample.rate for point in points), default=0.0)
    limits = max((point.rate.limits[1] for point in points), default=0.0)
    return min(limits, MOST_STRETCH * seen) if seen else limits or 1.0


def _y(rate: float, end: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * min(rate / end, 1.0)


def _mark(point: Point, places: dict[str, float], end: float, valued: bool) -> Mark:
    rate, (low, high) = point.rate.sample.rate, point.rate.limits
    return Mark(
        x=f"{places[point.kernel.label]:.4g}%",
        y=f"{_y(rate, end):.4g}",
        low=f"{_y(low, end):.4g}",
        high=f"{_y(high, end):.4g}",
        value="absent" if point.absent else render_rate(rate) if valued else "",
        cut=high > end * (1 + 1e-9),
        absent=point.absent,
        title=say(point),
    )


def _segment(step: Step, trend: Trend, places: dict[str, float], end: float) -> Segment:
    rates = {point.kernel.label: point.rate.sample.rate for point in trend.points}
    (x1, y1), (x2, y2) = ((places[one.label], _y(rates[one.label], end)) for one in (step.before, step.after))
    sign = {Change.MORE: "▲", Change.FEWER: "▼"}.get(step.change, "")
    return Segment(
        f"{x1:.4g}%",
        f"{y1:.4g}",
        f"{x2:.4g}%",
        f"{y2:.4g}",
        step.change if sign else "none",
        f"{sign} {factor(step)}" if sign else "",
        f"{(x1 + x2) / 2:.4g}%",
    )


def _names(kernels: Sequence[SeriesKernel], places: dict[str, float]) -> Iterator[Name]:
    """The last one, and from there on every so many, so that they do not overlap."""
    step = -(-len(kernels) // MOST_NAMES)
    for kernel in kernels[(len(kernels) - 1) % step :: step]:
        dates = kernel.dates
        label = _cut(kernel.label)
        yield Name(f"{places[kernel.label]:.4g}%", label, dates[-1] if dates else "")


def _cut(label: str) -> str:
    return label if len(label) <= LONGEST_NAME else f"{label[: LONGEST_NAME - 1]}…"
