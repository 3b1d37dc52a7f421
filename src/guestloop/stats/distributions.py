# SPDX-License-Identifier: GPL-2.0-or-later
"""The few distributions that the judgement needs, exact, without a numerical library."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

QUANTILE_STEPS = 80
QUANTILE_STEP = 1e-6
"""Each step of Newton's method squares the error: after one as small as this nothing is left to correct."""

BETA_STEPS = 300
EXACT_TRIALS = 200
"""Up to here a beta-binomial tail is summed term by term; beyond, a beta distribution stands for it."""

NORMAL = NormalDist()
MANY = 200.0
"""With more degrees of freedom than this Student's t is taken for the normal distribution."""


def normal_quantile(two_sided: float) -> float:
    """The z with P(|Z| >= z) = ``two_sided``, above 0 and at most 1, of the standard normal distribution."""
    return -NORMAL.inv_cdf(two_sided / 2)


def t_two_sided(t: float, df: float) -> float:
    """P(|T| >= |t|) of Student's t with ``df`` degrees of freedom.

    By the incomplete beta function (Abramowitz and Stegun, 26.7.1), which holds far out in the tails too.
    """
    if df > MANY:
        return 2 * NORMAL.cdf(-abs(t))
    return beta_below(df / (df + t * t), df / 2, 0.5)


def f_above(ratio: float, df: float, other_df: float) -> float:
    """P(F >= ``ratio``) of the ratio of two estimates of one variance, with these degrees of freedom."""
    if ratio <= 0:
        return 1.0
    return beta_below(other_df / (other_df + df * ratio), other_df / 2, df / 2)


@lru_cache(maxsize=4096)
def t_quantile(two_sided: float, df: float) -> float:
    """The t with P(|T| >= t) = ``two_sided``, 0 < two_sided < 1.

    By Newton's method for the logarithm of the probability over that of t, which is nearly straight, and
    concave: from the normal quantile, which is too small, the first step goes beyond the root and all further
    ones come back to it.
    """
    if df > MANY:
        return normal_quantile(two_sided)
    log_wanted, log_t = math.log(two_sided), math.log(normal_quantile(two_sided))
    for _ in range(QUANTILE_STEPS):
        t = math.exp(log_t)
        seen, slope = t_two_sided(t, df), 2 * _density(df / (df + t * t), df / 2, 0.5)
        step = (math.log(seen) - log_wanted) * seen / slope
        log_t += step
        if abs(step) < QUANTILE_STEP:
            break
    return math.exp(log_t)


def binomial_two_sided(successes: int, trials: int, chance: float) -> float:
    """Exact two-sided p: twice the smaller tail of Binomial(trials, chance), at most 1."""
    if trials == 0:
        return 1.0
    lower = successes <= trials * chance
    k, n, p = (successes, trials, chance) if lower else (trials - successes, trials, 1 - chance)
    log_choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    term = math.exp(log_choose + k * math.log(p) + (n - k) * math.log1p(-p))
    tail = term
    # From k down to 0 each term is smaller by a factor that itself shrinks, so the rest may be cut.
    while k > 0 and term > tail * 1e-17:
        term *= k / (n - k + 1) * (1 - p) / p
        tail += term
        k -= 1
    return min(1.0, 2 * tail)


def fisher_one_sided(failed: int, rounds: int, other_failed: int, other_rounds: int) -> float:
    """P of at least ``failed`` of ``rounds`` if both kernels fail alike (Fisher's exact test)."""
    total, chosen = rounds + other_rounds, failed + other_failed
    ways = sum(
        math.comb(rounds, k) * math.comb(other_rounds, chosen - k)
        for k in range(failed, min(rounds, chosen) + 1)
    )
    return ways / math.comb(total, chosen)


def beta_below(x: float, a: float, b: float) -> float:
    """P(X <= x) of a beta distribution: the continued fraction of Abramowitz and Stegun, 26.5.8."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_below(1 - x, b, a)
    return min(1.0, _density(x, a, b) / a * _fraction(x, a, b))


def _density(x: float, a: float, b: float) -> float:
    """The density of a beta distribution at x, times x (1 - x)."""
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(scale + a * math.log(x) + b * math.log1p(-x))


def _fraction(x: float, a: float, b: float) -> float:
    """By Lentz's method; both kinds of terms of one step at a time."""
    tiny = 1e-300
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or tiny)
    value = d
    for m in range(1, BETA_STEPS):
        at = a + 2 * m
        even = m * (b - m) * x / ((at - 1) * at)
        d, c = 1 / (1 + even * d or tiny), 1 + even / c or tiny
        value *= c * d
        odd = -(a + m) * (a + b + m) * x / (at * (at + 1))
        d, c = 1 / (1 + odd * d or tiny), 1 + odd / c or tiny
        value *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return value


def beta_binomial_two_sided(successes: int, trials: int, chance: float, concentration: float) -> float:
    """Two-sided p of a count whose chance scatters: twice the smaller tail of BetaBinomial, at most 1.

    The chance is beta-distributed with the mean ``chance`` and the parameters' sum ``concentration``
    (infinite: binomial). Beyond EXACT_TRIALS the share is taken for beta-distributed with its own variance.
    """
    if trials == 0:
        return 1.0
    lower = successes <= trials * chance
    k, p = (successes, chance) if lower else (trials - successes, 1 - chance)
    if trials <= EXACT_TRIALS:
        return min(1.0, 2 * _beta_binomial_below(k, trials, p, concentration))
    spread = p * (1 - p) * (1 / trials + (1 - 1 / trials) / (concentration + 1))
    total = p * (1 - p) / spread - 1
    return min(1.0, 2 * beta_below((k + 0.5) / trials, p * total, (1 - p) * total))


def _beta_binomial_below(k: int, n: int, p: float, concentration: float) -> float:
    if concentration > 1e9:
        return binomial_two_sided(k, n, p) / 2
    a, b = p * concentration, (1 - p) * concentration
    whole = math.lgamma(a + b) - math.lgamma(a + b + n) - math.lgamma(a) - math.lgamma(b)
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    term = math.exp(ways + math.lgamma(a + k) + math.lgamma(b + n - k) + whole)
    tail = term
    for i in range(k, 0, -1):
        term *= i / (n - i + 1) * (b + n - i) / (a + i - 1)
        tail += term
    return tail
