# SPDX-License-Identifier: GPL-2.0-or-later
"""The one function that judges two samples: more, fewer, the same, or open.

In this order (docs/method-judging.md):

* a change is **certain** if the test rejects that both rates are one, at the error that is left for this
  statement among all statements of the run. It is ``more`` or ``fewer`` if the estimate is beyond the floor,
  below which nobody would act;
* the rate is the **same** if its increase stays below the margin, with 95 %. A certain change below the
  floor is the same too;
* all else is **open**: so many rounds cannot tell, and ``rounds_needed`` says how many would.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from guestloop.stats.distributions import t_quantile
from guestloop.stats.inference import detectable, difference_limits, p_value, rate_limits, ratio_interval
from guestloop.stats.samples import Sample, Scatter

POWER = 0.8
EQUIVALENCE_ERROR = 0.05
"""The probability of calling a rate the same that grew by just the margin."""

MOST_ROUNDS = 64


class Change(StrEnum):
    """What the kernel under test does to a rate, compared with the reference."""

    SAME = "same"
    FEWER = "fewer"
    MORE = "more"
    OPEN = "open"


@dataclass(frozen=True)
class Bounds:
    """What counts, in units of the rate: ``floor`` to be acted on at all, ``margin`` to be excluded."""

    floor: float
    margin: float


@dataclass(frozen=True)
class Judgement:
    """Two samples and what can be said about them.

    ``scatter`` is that of the rounds of one kernel, ``alpha`` the error that this statement may have.
    ``increase`` has the one-sided limits of the difference of the rates, at 1 - EQUIVALENCE_ERROR each.
    """

    change: Change
    reference: Sample
    tested: Sample
    scatter: Scatter
    bounds: Bounds
    alpha: float
    p_value: float
    increase: tuple[float, float]

    @property
    def rates(self) -> tuple[float, float]:
        """Of the reference and of the candidate."""
        return self.reference.rate, self.tested.rate

    @property
    def ratio(self) -> float | None:
        """Tested / reference; None if the reference is 0."""
        return self.tested.rate / self.reference.rate if self.reference.total else None

    @property
    def certain(self) -> bool:
        """There is a difference, whatever its size."""
        return self.p_value < self.alpha

    @cached_property
    def limits(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The limits of each rate, those of ``increase``: either may be passed with EQUIVALENCE_ERROR."""
        before, after = (
            rate_limits(one, self.scatter, 2 * EQUIVALENCE_ERROR) for one in (self.reference, self.tested)
        )
        return before, after

    @cached_property
    def ci(self) -> tuple[float, float | None]:
        """The interval of the ratio at 1 - ``alpha``; an upper end of None is unbounded."""
        return ratio_interval(self.reference, self.tested, self.scatter, 1 - self.alpha)

    @cached_property
    def mde(self) -> float:
        """The smallest factor of increase that these rounds would have shown with a probability of POWER.

        Infinite if there is none.
        """
        return detectable(self.reference, self.tested, self.scatter, self.alpha, POWER)

    @cached_property
    def rounds_needed(self) -> int | None:
        """The rounds of each kernel that would settle an open statement with that probability.

        None if these are more than MOST_ROUNDS, and for a statement that is settled.
        """
        if self.change is not Change.OPEN:
            return None
        return _rounds_needed(self.reference, self.tested, self.scatter, self.bounds, self.alpha)


def judge(reference: Sample, tested: Sample, scatter: Scatter, bounds: Bounds, alpha: float) -> Judgement:
    """Compare two samples. The only place that decides whether a rate changed."""
    p = p_value(reference, tested, scatter)
    increase = difference_limits(reference, tested, scatter, 2 * EQUIVALENCE_ERROR)
    change = _change(reference, tested, bounds, certain=p < alpha, most=increase[1])
    return Judgement(change, reference, tested, scatter, bounds, alpha, p, increase)


def _change(reference: Sample, tested: Sample, bounds: Bounds, *, certain: bool, most: float) -> Change:
    difference = tested.rate - reference.rate
    if certain and abs(difference) >= bounds.floor:
        return Change.MORE if difference > 0 else Change.FEWER
    return Change.SAME if certain or most < bounds.margin else Change.OPEN


def _rounds_needed(
    reference: Sample, tested: Sample, scatter: Scatter, bounds: Bounds, alpha: float
) -> int | None:
    """The rounds after which the statement is settled with POWER, if the rates are what they seem to be."""
    per_round = [max(one.total, 0.5) / len(one.counts) for one in (reference, tested)]
    poisson = sum(1 / count for count in per_round)
    difference = tested.rate - reference.rate
    change = abs(math.log(per_round[1] * reference.exposure / (per_round[0] * tested.exposure)))
    base = max(reference.rate, 0.5 / reference.exposure)
    room = math.log1p(bounds.margin / base) - math.log1p(max(difference, 0.0) / base)
    power, same = t_quantile(2 * (1 - POWER), math.inf), t_quantile(2 * EQUIVALENCE_ERROR, math.inf)
    for rounds in range(len(reference.counts) + 1, MOST_ROUNDS + 1):
        error = math.sqrt((poisson + 2 * scatter.cv2) / rounds)
        is_certain = change >= (t_quantile(alpha, scatter.df + 2 * rounds) + power) * error
        if (abs(difference) >= bounds.floor and is_certain) or room >= (same + power) * error:
            return rounds
    return None
