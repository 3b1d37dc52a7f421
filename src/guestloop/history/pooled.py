# SPDX-License-Identifier: GPL-2.0-or-later
"""The rate of several cells as one: the mean, as if the guest had done the same work in each of them.

The sum of all requests over the sum of all work would move when a kernel merely gets more work done in one of
the cells; the mean of the rates does not. It is put as one sample, whose count is as uncertain as the mean is
if all counts are Poisson (as Fay and Feuer, 1997, do for rates that are standardised), and whose scatter is
that of the cells, weighted by their part of the mean. So it is judged as every other rate is.
"""

from __future__ import annotations

from collections.abc import Sequence

from guestloop.stats.samples import Sample, Scatter


def pool(samples: Sequence[Sample]) -> Sample:
    """One or more samples of different cells, in one unit, as one whose rate is their mean."""
    cells = len(samples)
    mean = sum(one.rate for one in samples) / cells
    if not mean:
        return Sample((0,), (cells**2 / sum(1 / one.exposure for one in samples),))
    variance = sum(one.rate / one.exposure for one in samples) / cells**2
    count = max(1, round(mean**2 / variance))
    return Sample((count,), (count / mean,))


def pool_scatter(sides: Sequence[Sequence[Sample]], scatters: Sequence[Scatter]) -> Scatter:
    """The scatter of ``pool`` of each side, on average, from that of each cell.

    Scatter is known of a cell partly from the other cells of its test, so that the cells do not add up their
    degrees of freedom: there are as many as in the cell that has most.
    """
    parts = [_part_of_mean(samples, index) for samples in sides for index in range(len(samples))]
    weights = [sum(parts[index :: len(scatters)]) / len(sides) for index in range(len(scatters))]
    cv2 = sum(weight * one.cv2 for weight, one in zip(weights, scatters, strict=True))
    return Scatter(cv2, max(one.df for one in scatters))


def _part_of_mean(samples: Sequence[Sample], index: int) -> float:
    """The weight of the variance of one cell in the mean of all."""
    total, own = sum(one.rate for one in samples), samples[index]
    share = own.rate / total if total else 1 / len(samples)
    return share**2 / own.rounds
