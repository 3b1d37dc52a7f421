# SPDX-License-Identifier: GPL-2.0-or-later
"""The one function that judges two samples: the seam for better statistics.

A count of flushes is not Poisson: rounds of one kernel scatter by more than the square root of
their counts, and two rounds hardly tell by how much. So the round is the unit, and a change is
claimed only when everything agrees:

* the rates of the rounds of both kernels do not overlap;
* an exact test of the totals, given their sum (conditional binomial test of two Poisson rates);
* a t test of the difference of the rates, whose variance is Poisson's plus the scatter between the
  rounds of a kernel, joined with a prior (PRIOR_CV, worth PRIOR_DF degrees of freedom), so that two
  rounds that happen to agree are not taken for proof that there is no noise, nor one round alone;
* the change is larger than what anybody would act on, relative and absolute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from guestloop.compare.distributions import binomial_two_sided, t_quantile, t_two_sided

PRIOR_CV = 0.15
"""Scatter of the rate between rounds of one kernel that is assumed until the data say more."""

PRIOR_DF = 3
"""How many degrees of freedom that assumption is worth."""

MDE_POWER = 0.8
CI_LEVEL = 0.99


class Change(StrEnum):
    """What the kernel under test does to a rate, compared with the reference."""

    SAME = "same"
    FEWER = "fewer"
    MORE = "more"


@dataclass(frozen=True)
class Sample:
    """One kernel's rounds: flush requests and events of each. At least one round, events above 0."""

    counts: tuple[int, ...]
    events: tuple[int, ...]

    @cached_property
    def total(self) -> int:
        return sum(self.counts)

    @cached_property
    def exposure(self) -> int:
        return sum(self.events)

    @property
    def rate(self) -> float:
        """Requests per event, over all rounds."""
        return self.total / self.exposure

    @property
    def rates(self) -> list[float]:
        """Requests per event of each round."""
        return [count / events for count, events in zip(self.counts, self.events, strict=True)]


@dataclass(frozen=True)
class Rule:
    """When a difference counts: p below ``p``, and at least both floors (``absolute`` per event)."""

    p: float = 0.01
    relative: float = 0.05
    absolute: float = 0.01


JUDGED = Rule()
"""For the paths that a workload is about."""

GROSS = Rule(p=0.001, relative=1.0, absolute=0.05)
"""For all other paths: at least a doubling."""


@dataclass(frozen=True)
class Judgement:
    """Two rates and what can be said about them.

    ``per_event`` are reference and tested. ``ratio`` is tested / reference (None: the reference is 0),
    ``ci`` its interval at CI_LEVEL (an upper end of None is unbounded). ``mde`` is the smallest increase
    of the rate, per event, that this data would have shown with a probability of MDE_POWER; infinite
    when the rounds scatter so widely that no increase would have been.
    """

    change: Change
    per_event: tuple[float, float]
    p_value: float
    ratio: float | None
    ci: tuple[float, float | None]
    mde: float


def judge(reference: Sample, tested: Sample, rule: Rule = JUDGED) -> Judgement:
    """Compare two samples by ``rule``. The only place that decides whether a rate changed."""
    cv2, df = _scatter(reference, tested)
    p_value = max(_exact_p(reference, tested), _scatter_p(reference, tested, cv2, df))
    difference = tested.rate - reference.rate
    floor = max(rule.absolute, rule.relative * reference.rate)
    claimed = _ranges_apart(reference, tested) and p_value < rule.p and abs(difference) >= floor
    change = (Change.MORE if difference > 0 else Change.FEWER) if claimed else Change.SAME
    return Judgement(
        change=change,
        per_event=(reference.rate, tested.rate),
        p_value=p_value,
        ratio=tested.rate / reference.rate if reference.total else None,
        ci=_ratio_interval(reference, tested, cv2, df),
        mde=max(floor, _detectable(reference, tested, rule, cv2, df)),
    )


def _ranges_apart(one: Sample, other: Sample) -> bool:
    return max(one.rates) < min(other.rates) or max(other.rates) < min(one.rates)


def _exact_p(reference: Sample, tested: Sample) -> float:
    share = tested.exposure / (reference.exposure + tested.exposure)
    return binomial_two_sided(tested.total, reference.total + tested.total, share)


def _scatter(*samples: Sample) -> tuple[float, int]:
    """Squared coefficient of variation between rounds beyond Poisson, and its degrees of freedom.

    Moment estimate: Pearson's chi square of a sample has the mean df * (1 + cv^2 * mean count). Samples
    are weighted by their mean count, because in small counts Poisson noise hides any other scatter.
    """
    chosen = [sample for sample in samples if len(sample.counts) > 1 and sample.total]
    weights = [(len(sample.counts) - 1) * sample.total / len(sample.counts) for sample in chosen]
    if not chosen:
        return PRIOR_CV**2, PRIOR_DF
    excess = sum(_chi2(sample) - (len(sample.counts) - 1) for sample in chosen)
    seen = max(0.0, excess / sum(weights))
    squares = sum(weight**2 / (len(one.counts) - 1) for weight, one in zip(weights, chosen, strict=True))
    own = max(1, round(sum(weights) ** 2 / squares))
    return (PRIOR_DF * PRIOR_CV**2 + own * seen) / (PRIOR_DF + own), PRIOR_DF + own


def _chi2(sample: Sample) -> float:
    expected = [sample.rate * events for events in sample.events]
    return sum((seen - want) ** 2 / want for seen, want in zip(sample.counts, expected, strict=True))


def _scatter_p(reference: Sample, tested: Sample, cv2: float, df: int) -> float:
    """The better of two t tests, each blind where the other sees.

    The difference against its error at one common rate (each round counting alike) misses what
    disappears altogether when rounds scatter widely; the log of the ratio misses small counts.
    """
    rates = [*reference.rates, *tested.rates]
    error = _error(sum(rates) / len(rates), reference, tested, cv2)
    score = (tested.rate - reference.rate) / error if error else 0.0
    centre, log_error = _log_ratio(reference, tested, cv2)
    return t_two_sided(max(abs(score), abs(centre) / log_error), df)


def _log_ratio(reference: Sample, tested: Sample, cv2: float) -> tuple[float, float]:
    """Log of the ratio and its standard error; half a request on both sides keeps zero finite."""
    before, after = reference.total + 0.5, tested.total + 0.5
    error = math.sqrt(1 / before + 1 / after + cv2 * _per_rounds(reference, tested))
    return math.log(after / tested.exposure * reference.exposure / before), error


def _error(rate: float, reference: Sample, tested: Sample, cv2: float) -> float:
    """Standard error of the difference of two rates that are both ``rate``."""
    poisson = rate * (1 / reference.exposure + 1 / tested.exposure)
    return math.sqrt(poisson + cv2 * rate**2 * _per_rounds(reference, tested))


def _ratio_interval(reference: Sample, tested: Sample, cv2: float, df: int) -> tuple[float, float | None]:
    centre, error = _log_ratio(reference, tested, cv2)
    reach = t_quantile(1 - CI_LEVEL, df) * error
    low = math.exp(centre - reach) if tested.total else 0.0
    return low, math.exp(centre + reach) if reference.total else None


def _per_rounds(reference: Sample, tested: Sample) -> float:
    return 1 / len(reference.counts) + 1 / len(tested.counts)


def _detectable(reference: Sample, tested: Sample, rule: Rule, cv2: float, df: int) -> float:
    """The increase d with d = (critical value + power) * standard error at the rate halfway to it.

    Never below what the exact test needs when the reference is 0.
    """
    reach = t_quantile(rule.p, df) + t_quantile(2 * (1 - MDE_POWER), df)
    # d^2 = reach^2 * (p * m + c * m^2) with m = rate + d / 2: a quadratic in d.
    p, c = 1 / reference.exposure + 1 / tested.exposure, cv2 * _per_rounds(reference, tested)
    rate, square = reference.rate, reach**2
    curve = 1 - square * c / 4
    if curve <= 0:
        return math.inf
    half = square * (p / 4 + c * rate / 2)
    increase = (half + math.sqrt(half**2 + curve * square * (p * rate + c * rate**2))) / curve
    fewest = math.ceil(
        math.log(rule.p / 2) / math.log(tested.exposure / (reference.exposure + tested.exposure))
    )
    return max(increase, fewest / tested.exposure)
