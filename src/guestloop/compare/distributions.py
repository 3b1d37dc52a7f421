# SPDX-License-Identifier: GPL-2.0-or-later
"""The few distributions that the judgement needs, exact, without a numerical library."""

from __future__ import annotations

import math
from functools import lru_cache

QUANTILE_STEPS = 80


def t_two_sided(t: float, df: int) -> float:
    """P(|T| >= |t|) of Student's t with ``df`` >= 1 degrees of freedom.

    The finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4. Results below about 1e-15 are 0.
    """
    theta = math.atan2(abs(t), math.sqrt(df))
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = df % 2 == 1
    term = cosine if odd else 1.0
    total = term if df > 1 else 0.0
    for step in range(3 if odd else 2, df - 1, 2):
        term *= cosine * cosine * ((step - 1) / step)
        total += term
    inside = (theta + sine * total) * 2 / math.pi if odd else sine * total
    return min(1.0, max(0.0, 1.0 - inside))


@lru_cache(maxsize=1024)
def t_quantile(two_sided: float, df: int) -> float:
    """The t with P(|T| >= t) = ``two_sided``, 0 < two_sided < 1; by bisection."""
    low, high = 0.0, 1.0
    while t_two_sided(high, df) > two_sided:
        high *= 2
    for _ in range(QUANTILE_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if t_two_sided(middle, df) > two_sided else (low, middle)
    return high


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
