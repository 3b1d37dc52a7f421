# SPDX-License-Identifier: GPL-2.0-or-later
"""The statistical model: two rates, whose counts are negative binomial with a scatter that is known.

A count of flushes is not Poisson: rounds of one kernel scatter by more than the square root of their counts.
How much is learnt from rounds of good kernels (calibration) and from the run itself (samples.py). Given it,
a difference is tested by what the total of both kernels is shared like: under one rate the share of one of
them is beta-binomial. The test is exact for Poisson counts, and for negative binomial ones of equal
exposure. That the scatter is an estimate widens the tails (Student's t, with the degrees of freedom of
Satterthwaite's approximation: the Poisson part of the variance is known).

docs/method-judging.md shows by simulation and by resampling what each of these promises.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from guestloop.stats.distributions import (
    beta_binomial_two_sided,
    normal_quantile,
    t_quantile,
    t_two_sided,
)
from guestloop.stats.samples import Sample, Scatter

SMALLEST_P = 1e-300
EDGE_ERROR = 1e-9
"""Relative."""


def p_value(reference: Sample, tested: Sample, scatter: Scatter, ratio: float = 1.0) -> float:
    """Two-sided p of the hypothesis that the rate of ``tested`` is ``ratio`` times that of ``reference``."""
    total = reference.total + tested.total
    if not total:
        return 1.0
    weighted = tested.exposure * ratio
    share = weighted / (reference.exposure + weighted)
    spread = scatter.cv2 * _per_rounds(reference, tested)
    p = beta_binomial_two_sided(tested.total, total, share, 1 / (spread * share * (1 - share)))
    z = normal_quantile(max(p, SMALLEST_P))
    poisson = 1 / (total * share) + 1 / (total * (1 - share))
    return t_two_sided(z, scatter.df * ((spread + poisson) / spread) ** 2)


def ratio_interval(
    reference: Sample, tested: Sample, scatter: Scatter, level: float
) -> tuple[float, float | None]:
    """The ratios that ``p_value`` does not reject at 1 - ``level``; an upper end of None is unbounded."""
    if not reference.total and not tested.total:
        return 0.0, None

    limit = normal_quantile(1 - level)

    def room(ratio: float) -> float:
        """In quantiles, which are nearly straight over the logarithm of the ratio."""
        return limit - normal_quantile(max(p_value(reference, tested, scatter, ratio), SMALLEST_P))

    # Half a request on both sides keeps zero finite.
    inside = (tested.total + 0.5) / tested.exposure * reference.exposure / (reference.total + 0.5)
    low = _edge(room, inside, 0.5) if tested.total else 0.0
    return low, _edge(room, inside, 2.0) if reference.total else None


def _edge(room: Callable[[float], float], inside: float, factor: float) -> float:
    """Where ``room``, which is positive ``inside``, ends on the way from there by ``factor``s.

    By false position over the logarithm, with the weights of the Illinois algorithm: where ``room`` is nearly
    straight a few steps do, and it ends for any.
    """
    outside = inside * factor
    left, beyond = room(inside), room(outside)
    while beyond > 0:
        inside, outside, left = outside, outside * factor, beyond
        beyond = room(outside)
    start, stop, before = math.log(inside), math.log(outside), 0.0
    while (width := abs(stop - start)) > EDGE_ERROR:
        least = EDGE_ERROR / 2 / width
        middle = start + (stop - start) * min(max(left / (left - beyond), least), 1 - least)
        found = room(math.exp(middle))
        if found > 0:
            start, left, beyond = middle, found, beyond / (2 if before > 0 else 1)
        else:
            stop, beyond, left = middle, found, left / (2 if before < 0 else 1)
        before = found
    return math.exp(start)


def rate_limits(sample: Sample, scatter: Scatter, two_sided: float) -> tuple[float, float]:
    """The limits of one rate that it exceeds with the probability ``two_sided`` in all.

    Byar's approximation of the exact Poisson limits, for the count that would be as uncertain as this one is
    with its scatter.
    """
    spread = sample.total * scatter.cv2 / sample.rounds
    count = sample.total / (1 + spread)
    unit = (1 + spread) / sample.exposure
    z = t_quantile(two_sided, scatter.df * ((1 + spread) / spread) ** 2 if spread else math.inf)
    return max(0.0, _byar(count, -z)) * unit, _byar(count + 1, z) * unit


def _byar(count: float, z: float) -> float:
    return count * (1 - 1 / (9 * count) + z / (3 * math.sqrt(count))) ** 3 if count else 0.0


def difference_limits(
    reference: Sample, tested: Sample, scatter: Scatter, two_sided: float
) -> tuple[float, float]:
    """The limits of the difference of two rates, from those of each (MOVER, Zou and Donner 2008)."""
    before = rate_limits(reference, scatter, two_sided)
    after = rate_limits(tested, scatter, two_sided)
    difference = tested.rate - reference.rate
    return (
        difference - math.hypot(tested.rate - after[0], before[1] - reference.rate),
        difference + math.hypot(after[1] - tested.rate, reference.rate - before[0]),
    )


def detectable(reference: Sample, tested: Sample, scatter: Scatter, alpha: float, power: float) -> float:
    """The factor by which the rate must grow to be found at ``alpha`` with this probability.

    The rate before is that of both samples together. Infinite where a factor of 2**20 would not do.
    """
    rate = (reference.total + tested.total + 0.5) / (reference.exposure + tested.exposure)
    before = rate * reference.exposure
    spread = scatter.cv2 * _per_rounds(reference, tested)

    def lacking(factor: float) -> float:
        """Positive while the growth is too small."""
        after = rate * tested.exposure * factor
        # Under the hypothesis of one rate, which the test assumes, and as it is.
        total, share = before + after, tested.exposure / (reference.exposure + tested.exposure)
        null = math.sqrt(1 / (total * share) + 1 / (total * (1 - share)) + spread)
        true = math.sqrt(1 / before + 1 / after + spread)
        df = scatter.df * (null**2 / spread) ** 2
        wanted = t_quantile(alpha, df) * null + t_quantile(2 * (1 - power), df) * true
        return wanted - math.log(factor)

    return _edge(lacking, 1.0, 2.0) if lacking(2.0**20) <= 0 else math.inf


def _per_rounds(reference: Sample, tested: Sample) -> float:
    return 1 / reference.rounds + 1 / tested.rounds
