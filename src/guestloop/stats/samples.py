# SPDX-License-Identifier: GPL-2.0-or-later
"""Samples: what was counted in the rounds of one kernel, and how widely such counts scatter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from guestloop.stats.distributions import f_above

CONTRADICTION = 0.001
"""The error of saying that rounds scatter more widely than was known, for each statement."""

LEAST_CV2 = 0.01**2
"""No count of an operating system is believed to scatter by less than 1 % of its mean."""


@dataclass(frozen=True)
class Sample:
    """The rounds of one kernel: what was counted in each, and what it is divided by.

    There is at least one round. An exposure is above 0: what drives the count (pages paged out, page-ready
    events), or the work of the guest.
    """

    counts: tuple[int, ...]
    exposures: tuple[float, ...]

    @cached_property
    def total(self) -> int:
        return sum(self.counts)

    @cached_property
    def exposure(self) -> float:
        return sum(self.exposures)

    @property
    def rate(self) -> float:
        """Of all rounds together."""
        return self.total / self.exposure

    @cached_property
    def rounds(self) -> float:
        """How many rounds of equal exposure weigh as much as these."""
        return self.exposure**2 / sum(each**2 for each in self.exposures)


@dataclass(frozen=True)
class Scatter:
    """How widely the rate of a round scatters between rounds, beyond Poisson.

    ``cv2`` is the squared coefficient of variation of the rate, ``df`` how many degrees of freedom it
    was estimated with. A count of mean m then has the variance m + cv2 * m**2 (negative binomial).
    ``poisson`` is 1 / m of the counts that it was estimated from.
    """

    cv2: float
    df: float
    poisson: float = 0.0

    def joined(self, seen: Scatter | None) -> Scatter:
        """With what was seen in a run, each weighted by its degrees of freedom. Never below LEAST_CV2.

        Where the rounds of the run scatter so widely that what was known cannot be true of them, as on a
        machine that does other work, what was seen stands alone.
        """
        seen = seen or Scatter(0.0, 0.0)
        if self._is_contradicted(seen):
            return Scatter(seen.cv2, seen.df)
        df = self.df + seen.df
        return Scatter(max(LEAST_CV2, (self.df * self.cv2 + seen.df * seen.cv2) / df), df)

    def _is_contradicted(self, seen: Scatter) -> bool:
        if not seen.df:
            return False
        expected = max(LEAST_CV2, self.cv2) + seen.poisson
        return f_above((seen.cv2 + seen.poisson) / expected, seen.df, self.df) < CONTRADICTION


def scatter_of(samples: Iterable[Sample]) -> Scatter | None:
    """What samples show of the scatter of the rounds of one kernel; None when none has two rounds.

    Moment estimate: Pearson's chi square of a sample has the mean df * (1 + cv2 * mean count). Samples are
    weighted by their mean count, because in small counts Poisson noise hides any other scatter. It may be
    negative: rounds can agree better than independent counts do.
    """
    chosen = [sample for sample in samples if len(sample.counts) > 1 and sample.total]
    if not chosen:
        return None
    frees = [len(sample.counts) - 1 for sample in chosen]
    weights = [free * sample.total / len(sample.counts) for free, sample in zip(frees, chosen, strict=True)]
    excess = sum(_chi2(sample) for sample in chosen) - sum(frees)
    squares = sum(weight**2 / free for weight, free in zip(weights, frees, strict=True))
    poisson = sum(frees) / sum(weights)
    return Scatter(excess / sum(weights), sum(weights) ** 2 / squares, poisson)


def _chi2(sample: Sample) -> float:
    expected = [sample.rate * exposure for exposure in sample.exposures]
    return sum((seen - want) ** 2 / want for seen, want in zip(sample.counts, expected, strict=True))
