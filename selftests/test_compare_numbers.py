# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers behind a verdict, held against what they are defined as, computed in another way."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from samples import CANDIDATE, REFERENCE, A, B, compare, plan_of, rounds_of

from guestloop.compare.statuses import Status
from guestloop.results.records import Outcome
from guestloop.stats.distributions import (
    binomial_two_sided,
    fisher_one_sided,
    t_quantile,
    t_two_sided,
)


@pytest.mark.parametrize("chance", [0.2, 0.5, 0.7])
@pytest.mark.parametrize("trials", [1, 2, 7, 12, 25])
def test_the_binomial_tail_is_the_sum_of_its_terms(trials: int, chance: float) -> None:
    terms = [math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(trials + 1)]
    for seen in range(trials + 1):
        tail = terms[: seen + 1] if seen <= trials * chance else terms[seen:]
        expected = min(1.0, 2 * sum(tail))
        assert binomial_two_sided(seen, trials, chance) == pytest.approx(expected, rel=1e-9)


def student_density(t: float, df: int) -> float:
    scale = math.gamma((df + 1) / 2) / (math.sqrt(df * math.pi) * math.gamma(df / 2))
    return scale * math.pow(1 + t * t / df, -(df + 1) / 2)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("t", [0.3, 1.0, 2.5])
def test_students_t_is_the_integral_of_its_density(t: float, df: int) -> None:
    steps = 2000  # Simpson's rule
    width = t / steps
    weights = [1, *([4, 2] * (steps // 2))[:-1], 1]
    inside = sum(weight * student_density(step * width, df) for step, weight in enumerate(weights))
    assert t_two_sided(t, df) == pytest.approx(1 - 2 * inside * width / 3, rel=1e-6)
    assert t_two_sided(-t, df) == t_two_sided(t, df)
    assert t_quantile(t_two_sided(t, df), df) == pytest.approx(t, rel=1e-6)


def test_fishers_test_is_the_share_of_the_ways_to_place_the_failures() -> None:
    assert fisher_one_sided(2, 2, 0, 2) == pytest.approx(1 / 6)
    assert fisher_one_sided(0, 5, 3, 5) == 1.0
    assert fisher_one_sided(10, 10, 1, 10) == pytest.approx(10 / math.comb(20, 11))


def test_distributions_against_tables() -> None:
    for df, quantile in (
        (1, 63.657),
        (2, 9.925),
        (3, 5.841),
        (4, 4.604),
        (5, 4.032),
        (10, 3.169),
        (30, 2.750),
    ):
        assert t_quantile(0.01, df) == pytest.approx(quantile, abs=0.001)
        assert t_two_sided(-quantile, df) == pytest.approx(0.01, rel=0.001)
    assert t_two_sided(0.0, 3) == 1.0
    assert binomial_two_sided(2, 10, 0.5) == pytest.approx(2 * 56 / 1024)
    assert binomial_two_sided(8, 10, 0.5) == pytest.approx(2 * 56 / 1024)
    assert binomial_two_sided(5, 10, 0.5) == 1.0
    assert binomial_two_sided(0, 4, 0.25) == pytest.approx(2 * 0.75**4)
    assert binomial_two_sided(0, 0, 0.5) == 1.0
    assert binomial_two_sided(0, 98_000, 0.5) == 0.0
    assert binomial_two_sided(48_700, 98_000, 0.5) == pytest.approx(0.0556, abs=0.001)


# --- what the rounds prove -------------------------------------------------------------------------


def test_the_reason_to_skip_is_that_of_the_first_round() -> None:
    first, *rest = rounds_of({A: (420, 433), B: (0, 1)})
    rounds = [
        replace(item, outcome=Outcome.SKIPPED, reason=f"reason {number}")
        for number, item in enumerate([first, *rest], 1)
    ]
    seen = compare(plan_of(REFERENCE, CANDIDATE), rounds).cells[0].candidates[B]
    assert (seen.status, seen.reason) == (Status.SKIPPED, "reason 1")
    assert rounds[0].kernel == A
