# SPDX-License-Identifier: GPL-2.0-or-later
"""The statistical model, held against simulated rounds: what it promises is what happens."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from functools import cache
from itertools import accumulate

import pytest

from guestloop.stats.distributions import (
    EXACT_TRIALS,
    beta_below,
    beta_binomial_two_sided,
    binomial_two_sided,
)
from guestloop.stats.inference import (
    detectable,
    difference_limits,
    p_value,
    rate_limits,
    ratio_interval,
)
from guestloop.stats.samples import LEAST_CV2, Sample, Scatter, scatter_of

KNOWN_DF = 20.0


class Rounds:
    """Draws rounds whose counts are negative binomial."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def sample(self, rounds: int, mean: float, cv: float) -> Sample:
        below = negative_binomial(mean, cv)
        counts = (bisect_left(below, self._random.random()) for _ in range(rounds))
        return Sample(tuple(counts), (1.0,) * rounds)


@cache
def negative_binomial(mean: float, cv: float) -> list[float]:
    """P(count <= k) for each k: Poisson counts whose rate is gamma-distributed with this variation."""
    shape = 1 / cv**2
    chance = mean / (mean + shape)

    def density(k: int) -> float:
        ways = math.lgamma(k + shape) - math.lgamma(shape) - math.lgamma(k + 1)
        return math.exp(ways + shape * math.log1p(-chance) + k * math.log(chance))

    last = mean + 12 * math.sqrt(mean + (mean * cv) ** 2)
    return list(accumulate(map(density, range(int(last) + 20))))


# --- distributions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.7), (2.0, 5.0), (40.0, 3.0)])
@pytest.mark.parametrize("x", [0.05, 0.4, 0.95])
def test_the_incomplete_beta_function_is_the_integral_of_its_density(x: float, a: float, b: float) -> None:
    """Substituting t = x * s**4 keeps the integrand finite where a is below 1."""
    steps = 4000
    scale = math.gamma(a + b) / (math.gamma(a) * math.gamma(b))

    def density(s: float) -> float:
        t = x * s**4
        return scale * t ** (a - 1) * (1 - t) ** (b - 1) * 4 * x * s**3 if s else 0.0

    inside = sum((4 if k % 2 else 2) * density(k / steps) for k in range(1, steps))
    inside += density(0.0) + density(1.0)
    assert beta_below(x, a, b) == pytest.approx(inside / (3 * steps), rel=1e-5)


def test_a_share_that_does_not_scatter_is_binomial() -> None:
    assert beta_binomial_two_sided(3, 20, 0.4, math.inf) == binomial_two_sided(3, 20, 0.4)


@pytest.mark.parametrize("concentration", [20.0, 400.0])
def test_the_tails_join_where_they_are_no_longer_summed(concentration: float) -> None:
    near, far = (
        beta_binomial_two_sided(round(trials * 0.38), trials, 0.5, concentration)
        for trials in (EXACT_TRIALS, EXACT_TRIALS + 50)
    )
    exact = sum(_terms(EXACT_TRIALS + 50, 0.5, concentration)[: round((EXACT_TRIALS + 50) * 0.38) + 1])
    assert far == pytest.approx(2 * exact, rel=0.05) and near > far


def _terms(n: int, p: float, concentration: float) -> list[float]:
    a, b = p * concentration, (1 - p) * concentration
    beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return [
        math.comb(n, k)
        * math.exp(math.lgamma(a + k) + math.lgamma(b + n - k) - math.lgamma(a + b + n) - beta)
        for k in range(n + 1)
    ]


# --- samples ---------------------------------------------------------------------------------------


def test_scatter_is_found_in_rounds_that_scatter() -> None:
    draw = Rounds(1)
    found = scatter_of(draw.sample(10, 1000, 0.2) for _ in range(20))
    assert found and found.df == pytest.approx(180, rel=0.05)
    assert math.sqrt(found.cv2) == pytest.approx(0.2, rel=0.15)


def test_one_round_shows_no_scatter_and_counts_that_agree_too_well_less_than_none() -> None:
    assert scatter_of([Sample((10,), (1.0,)), Sample((0, 0), (1.0, 1.0))]) is None
    alike = scatter_of([Sample((100, 100), (1.0, 1.0))])
    assert alike and alike.cv2 < 0
    assert Scatter(alike.cv2, 1.0).joined(None).cv2 == LEAST_CV2


def test_what_is_known_and_what_is_seen_are_weighted_by_their_freedom() -> None:
    joined = Scatter(0.04, 30).joined(Scatter(0.01, 10))
    assert joined.cv2 == pytest.approx(0.0325) and joined.df == 40


def test_rounds_that_scatter_more_than_was_known_stand_alone() -> None:
    """A machine that does other work now: what was known cannot be true of these rounds."""
    wild = scatter_of([Sample((300, 500, 900), (1.0,) * 3), Sample((520, 150, 700), (1.0,) * 3)])
    assert wild
    joined = Scatter(0.04**2, 30).joined(wild)
    assert (joined.cv2, joined.df) == (wild.cv2, wild.df)
    usual = scatter_of([Sample((400, 430, 415), (1.0,) * 3)])
    assert usual and Scatter(0.04**2, 30).joined(usual).df == 30 + usual.df


def test_rounds_of_unequal_exposure_weigh_as_fewer() -> None:
    assert Sample((1, 1), (1.0, 1.0)).rounds == 2.0
    assert Sample((1, 9), (1.0, 9.0)).rounds == pytest.approx(100 / 82)


# --- the test, by simulation -----------------------------------------------------------------------


@pytest.mark.parametrize(("mean", "cv"), [(300, 0.05), (300, 0.3), (8, 0.1), (40, 2.5)])
@pytest.mark.parametrize("rounds", [1, 2, 8])
def test_a_difference_that_is_none_is_rarely_certain(mean: int, cv: float, rounds: int) -> None:
    """At an error of 5 % not more than 7 % of 400: two standard errors."""
    draw, false = Rounds(2), 0
    for _ in range(400):
        reference, tested = draw.sample(rounds, mean, cv), draw.sample(rounds, mean, cv)
        scatter = Scatter(cv**2, KNOWN_DF).joined(scatter_of((reference, tested)))
        false += p_value(reference, tested, scatter) < 0.05
    assert false <= 28


@pytest.mark.parametrize(("mean", "cv"), [(300, 0.05), (300, 0.15), (40, 0.05)])
@pytest.mark.parametrize("rounds", [2, 4, 8, 16])
def test_an_increase_of_mde_is_found_as_often_as_promised(mean: int, cv: float, rounds: int) -> None:
    """80 % promised: 400 draws scatter by 2 %."""
    draw, found, alpha = Rounds(3), 0, 1e-3
    prior = Scatter(cv**2, KNOWN_DF)
    same = Sample((mean,) * rounds, (1.0,) * rounds)
    factor = detectable(same, same, prior.joined(Scatter(cv**2, 2 * (rounds - 1))), alpha, 0.8)
    for _ in range(400):
        reference, tested = draw.sample(rounds, mean, cv), draw.sample(rounds, mean * factor, cv)
        scatter = prior.joined(scatter_of((reference, tested)))
        found += p_value(reference, tested, scatter) < alpha
    assert 0.71 <= found / 400 <= 0.87


def test_a_rate_that_grew_by_the_margin_is_rarely_called_the_same() -> None:
    """At an error of 5 %, which of 8000 draws was 6.8 %."""
    draw, missed = Rounds(5), 0
    for _ in range(400):
        reference, tested = draw.sample(4, 300, 0.1), draw.sample(4, 375, 0.1)
        scatter = Scatter(0.01, KNOWN_DF).joined(scatter_of((reference, tested)))
        missed += difference_limits(reference, tested, scatter, 0.1)[1] < 0.25 * reference.rate
    assert missed / 400 <= 0.08


# --- intervals -------------------------------------------------------------------------------------


def test_the_interval_has_the_ratios_that_are_not_rejected() -> None:
    reference, tested = Sample((100, 110), (1000.0, 1000.0)), Sample((130, 150), (1000.0, 1000.0))
    scatter = Scatter(0.05**2, KNOWN_DF)
    low, high = ratio_interval(reference, tested, scatter, 0.99)
    assert high is not None and low < 280 / 210 < high
    for edge in (low, high):
        assert p_value(reference, tested, scatter, edge) == pytest.approx(0.01, rel=1e-6)


def test_from_and_to_nothing() -> None:
    nothing, some = Sample((0, 0), (50.0, 50.0)), Sample((29, 29), (50.0, 50.0))
    scatter = Scatter(LEAST_CV2, KNOWN_DF)
    assert ratio_interval(nothing, nothing, scatter, 0.99) == (0.0, None)
    assert ratio_interval(nothing, some, scatter, 0.99)[1] is None
    low, high = ratio_interval(some, nothing, scatter, 0.99)
    assert low == 0.0 and high is not None and high < 0.2
    assert p_value(nothing, nothing, scatter) == 1.0
    assert p_value(some, nothing, scatter) < 1e-12


def test_limits_of_one_rate_are_those_of_poisson_where_nothing_scatters() -> None:
    """Garwood's exact limits of 10 events at 95 % are 4.795 and 18.39; of none 0 and 3.689."""
    tight = Scatter(1e-12, 1e6)
    assert rate_limits(Sample((10,), (1.0,)), tight, 0.05) == pytest.approx((4.795, 18.39), rel=2e-3)
    assert rate_limits(Sample((0,), (1.0,)), tight, 0.05) == pytest.approx((0.0, 3.689), rel=2e-2)


def test_an_increase_that_nothing_would_show_is_infinite() -> None:
    single = Sample((1,), (1.0,))
    assert detectable(single, single, Scatter(4.0, 1.0), 1e-6, 0.8) == math.inf
