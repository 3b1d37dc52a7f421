# SPDX-License-Identifier: GPL-2.0-or-later
"""The rounds of each kernel as dots on one axis, with the interval of their rate: geometry only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 260
LEFT = 18
"""Room for the letter of a kernel."""

RIGHT = 6
LANE = 18
AXIS = 16
"""Height of a lane, and of the line with the ends of the axis."""

MOST_STRETCH = 2.5
"""An interval that ends beyond so many times the largest rate is cut at the edge, to see the rounds."""

MOST_DOTS = 200
"""Of one kernel: as many as can be told apart, and more."""

CROWDED = 4
"""Dots that are nearer than this stand above each other, in as many rows as a lane has."""
ROWS = (0, -4, 4)


@dataclass(frozen=True)
class Rates:
    """What one lane shows: the rate of each round, that of all together, and its limits."""

    rounds: Sequence[float]
    rate: float
    limits: tuple[float, float]


@dataclass(frozen=True)
class Lane:
    """A kernel, by its place in the run. ``dots`` is the path of its rounds, drawn with a round pen."""

    kernel: int
    y: int
    low: str
    high: str
    rate: str
    dots: str
    cut: bool


@dataclass(frozen=True)
class Plot:
    """One axis, from 0 to ``end``, and a lane for each kernel that has rounds."""

    lanes: tuple[Lane, ...]
    end: float
    height: int

    width = WIDTH
    left = LEFT
    right = WIDTH - RIGHT


def plot(kernels: Sequence[Rates | None]) -> Plot:
    """Lay out the rounds of each kernel; None is one without any."""
    given = [(kernel, one) for kernel, one in enumerate(kernels) if one]
    end = _end([one for _, one in given])
    lanes = tuple(_lane(kernel, one, row, end) for row, (kernel, one) in enumerate(given))
    return Plot(lanes, end, LANE * len(lanes) + AXIS)


def _end(kernels: Sequence[Rates]) -> float:
    seen = max((rate for one in kernels for rate in (*one.rounds, one.rate)), default=0.0)
    limits = max((one.limits[1] for one in kernels), default=0.0)
    return min(limits, MOST_STRETCH * seen) if seen else limits or 1.0


def _lane(kernel: int, one: Rates, row: int, end: float) -> Lane:
    y = row * LANE + LANE // 2
    low, high = (_x(limit, end) for limit in one.limits)
    cut = one.limits[1] > end * (1 + 1e-9)
    return Lane(kernel, y, low, high, _x(one.rate, end), _dots(one.rounds, y, end), cut)


def _x(rate: float, end: float) -> str:
    return f"{_place(rate, end):g}"


def _place(rate: float, end: float) -> float:
    return round(LEFT + min(rate / end, 1.0) * (WIDTH - LEFT - RIGHT), 1)


def _dots(rates: Sequence[float], y: int, end: float) -> str:
    """``M120 9h0M133 9h0``: a dot is a line without length. Evenly chosen ones where there are too many."""
    step = max(1, -(-len(rates) // MOST_DOTS))
    found, last = [], [-99.0] * len(ROWS)
    for x in sorted(_place(rate, end) for rate in rates[::step]):
        row = next((row for row, edge in enumerate(last) if x - edge >= CROWDED), 0)
        last[row] = x
        found.append(f"M{x:g} {y + ROWS[row]}h0")
    return "".join(found)
