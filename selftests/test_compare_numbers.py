# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers behind a verdict, held against what they are defined as, computed in another way."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from samples import CANDIDATE, REFERENCE, A, B, plan_of, rounds_of

from guestloop.compare import compare
from guestloop.compare.distributions import binomial_two_sided, t_quantile, t_two_sided
from guestloop.compare.judge import GROSS, JUDGED, PRIOR_CV, PRIOR_DF, Change, Rule, Sample, judge
from guestloop.compare.statuses import Status
from guestloop.results.records import Outcome


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


# --- one judgement, worked out ---------------------------------------------------------------------


def test_one_round_each_rests_on_the_prior() -> None:
    """Ratio 4; its log has the variance of two counts (half a request added) and of the prior's scatter."""
    judgement = judge(Sample((10,), (1000,)), Sample((40,), (1000,)))
    error = math.sqrt(1 / 10.5 + 1 / 40.5 + PRIOR_CV**2 * 2)
    reach = 5.8409 * error  # Student's t, 3 degrees of freedom, 99 %
    centre = math.log(40.5 / 10.5)
    assert judgement.ratio == 4.0 and judgement.per_event == (0.01, 0.04)
    assert judgement.ci[0] == pytest.approx(math.exp(centre - reach), rel=1e-3)
    assert judgement.ci[1] == pytest.approx(math.exp(centre + reach), rel=1e-3)
    by_ratio = centre / error
    by_difference = 0.03 / math.sqrt(0.025 * 2 / 1000 + PRIOR_CV**2 * 0.025**2 * 2)
    assert judgement.p_value == pytest.approx(t_two_sided(max(by_ratio, by_difference), PRIOR_DF), rel=1e-9)


def test_scatter_between_rounds_is_joined_with_the_prior() -> None:
    """Unequal rounds: weights, excess over Poisson and degrees of freedom as the docstrings define them."""
    reference, tested = Sample((100, 140, 90), (1000, 1100, 900)), Sample((260, 180), (1200, 1000))
    excess, weights, squares = 0.0, 0.0, 0.0
    for sample in (reference, tested):
        free = len(sample.counts) - 1
        rate = sum(sample.counts) / sum(sample.events)
        chi2 = sum(
            (n - rate * e) ** 2 / (rate * e) for n, e in zip(sample.counts, sample.events, strict=True)
        )
        mean = sum(sample.counts) / len(sample.counts)
        excess, weights, squares = excess + chi2 - free, weights + free * mean, squares + free * mean**2
    own = round(weights**2 / squares)
    cv2 = (PRIOR_DF * PRIOR_CV**2 + own * excess / weights) / (PRIOR_DF + own)
    rounds = 1 / 3 + 1 / 2
    log_error = math.sqrt(1 / 330.5 + 1 / 440.5 + cv2 * rounds)
    centre = math.log((440.5 / 2200) / (330.5 / 3000))
    rate = (0.1 + 140 / 1100 + 0.1 + 260 / 1200 + 0.18) / 5
    error = math.sqrt(rate * (1 / 3000 + 1 / 2200) + cv2 * rate**2 * rounds)
    score = max((440 / 2200 - 330 / 3000) / error, centre / log_error)
    exact = binomial_two_sided(440, 770, 2200 / 5200)
    expected = max(exact, t_two_sided(score, PRIOR_DF + own))
    judgement = judge(reference, tested)
    assert own == 3 and excess > 0, "or the rounds of this test show nothing"
    assert judgement.p_value == pytest.approx(expected, rel=1e-9)
    reach = t_quantile(0.01, PRIOR_DF + own) * log_error
    assert judgement.ci == pytest.approx((math.exp(centre - reach), math.exp(centre + reach)), rel=1e-9)


def test_rounds_that_agree_too_well_are_not_taken_for_less_than_no_scatter() -> None:
    """Chi square below its mean: the scatter is that of the prior, thinned by these degrees of freedom."""
    same = Sample((100, 100), (1000, 1000))
    judgement = judge(same, Sample((110, 110), (1000, 1000)))
    cv2 = PRIOR_DF * PRIOR_CV**2 / (PRIOR_DF + 2)
    error = math.sqrt(1 / 200.5 + 1 / 220.5 + cv2)
    reach = t_quantile(0.01, PRIOR_DF + 2) * error
    assert judgement.ci[0] == pytest.approx(220.5 / 200.5 * math.exp(-reach), rel=1e-9)


@pytest.mark.parametrize("rule", [JUDGED, GROSS, Rule(p=0.05, relative=0.0, absolute=0.0)])
@pytest.mark.parametrize(("count", "rounds"), [(400, 2), (30, 4), (900, 8)])
def test_the_detectable_increase_is_as_large_as_its_own_noise(rule: Rule, count: int, rounds: int) -> None:
    """d = (critical value + power) * standard error at the rate halfway to it."""
    sample = Sample((count,) * rounds, (1000,) * rounds)
    mde = judge(sample, sample, rule).mde
    own = 2 * (rounds - 1)
    cv2 = PRIOR_DF * PRIOR_CV**2 / (PRIOR_DF + own)
    reach = t_quantile(rule.p, PRIOR_DF + own) + t_quantile(0.4, PRIOR_DF + own)

    def noise(increase: float) -> float:
        rate = count / 1000 + increase / 2
        exposure = 1000 * rounds
        return reach * math.sqrt(rate * 2 / exposure + cv2 * rate**2 * 2 / rounds)

    floor = max(rule.absolute, rule.relative * count / 1000)
    assert mde >= floor
    if mde > floor:
        assert mde == pytest.approx(noise(mde), rel=1e-9)
    else:
        assert floor >= noise(floor)


def test_no_increase_could_be_seen_in_one_round_that_may_be_anything() -> None:
    single = Sample((400,), (1000,))
    assert judge(single, single, GROSS).mde == math.inf


def test_from_nothing_the_exact_test_wants_a_number_of_requests() -> None:
    """Of n requests all on one of two equal sides: 2 * 2**-n must be below p, so 8 for 1 %."""
    nothing = Sample((0, 0), (1000, 1000))
    assert judge(nothing, nothing).mde >= 8 / 2000


def test_a_difference_below_both_floors_is_none() -> None:
    """Rounds so many and alike that p is tiny: what nobody would act on is still no change."""
    before = Sample((10_000,) * 40, (10_000,) * 40)
    changes = [judge(before, Sample((count,) * 40, (10_000,) * 40)).change for count in (10_400, 9_600)]
    assert changes == [Change.SAME, Change.SAME]
    changes = [judge(before, Sample((count,) * 40, (10_000,) * 40)).change for count in (10_600, 9_400)]
    assert changes == [Change.MORE, Change.FEWER]


def test_nothing_on_both_sides() -> None:
    nothing = Sample((0,), (1000,))
    judgement = judge(nothing, nothing)
    assert (judgement.change, judgement.p_value) == (Change.SAME, 1.0)
    assert (judgement.ratio, judgement.ci) == (None, (0.0, None))


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
