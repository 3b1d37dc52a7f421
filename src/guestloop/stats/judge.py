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

_POWER_QUANTILE = t_quantile(2 * (1 - POWER), math.inf)
_SAME_QUANTILE = t_quantile(2 * EQUIVALENCE_ERROR, math.inf)


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
    def direction(self) -> Change:
        """Where the rates point, certain or not."""
        before, after = self.rates
        return Change.SAME if before == after else Change.MORE if after > before else Change.FEWER

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
        return next(
            (n for n in self._more_rounds if self._shows_change(n) or self._excludes_increase(n)), None
        )

    @cached_property
    def rounds_to_certainty(self) -> int | None:
        """The rounds of each kernel that would make a change of the size seen certain, with that probability.

        None if these are more than MOST_ROUNDS, if it is certain already, and below the floor.
        """
        return None if self.certain else next(filter(self._shows_change, self._more_rounds), None)

    @property
    def _more_rounds(self) -> range:
        return range(len(self.reference.counts) + 1, MOST_ROUNDS + 1)

    def _shows_change(self, rounds: int) -> bool:
        """A change beyond the floor is certain after so many rounds, if the rates are what they seem."""
        before, after = self._per_round
        change = abs(math.log(after * self.reference.exposure / (before * self.tested.exposure)))
        certain = t_quantile(self.alpha, self.scatter.df + 2 * rounds) + _POWER_QUANTILE
        beyond = abs(self.tested.rate - self.reference.rate) >= self.bounds.floor
        return beyond and change >= certain * self._error(rounds)

    def _excludes_increase(self, rounds: int) -> bool:
        """An increase by the margin is excluded after so many rounds, if the rates are what they seem."""
        base = max(self.reference.rate, 0.5 / self.reference.exposure)
        increase = max(self.tested.rate - self.reference.rate, 0.0)
        room = math.log1p(self.bounds.margin / base) - math.log1p(increase / base)
        return room >= (_SAME_QUANTILE + _POWER_QUANTILE) * self._error(rounds)

    def _error(self, rounds: int) -> float:
        """The standard error of the logarithm of the ratio after so many rounds of each kernel."""
        poisson = sum(1 / count for count in self._per_round)
        return math.sqrt((poisson + 2 * self.scatter.cv2) / rounds)

    @property
    def _per_round(self) -> tuple[float, float]:
        """The count of a round of each kernel; of none at all, half of one in all rounds."""
        before, after = (max(one.total, 0.5) / len(one.counts) for one in (self.reference, self.tested))
        return before, after


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
