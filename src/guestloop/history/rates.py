# SPDX-License-Identifier: GPL-2.0-or-later
"""Flush requests of one kernel in one cell for the work of its guest, with the interval of a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from guestloop.compare import Calibration, Weight
from guestloop.compare.drivers import work_of
from guestloop.compare.proof import is_proven
from guestloop.compare.statements import TOTAL, count_all, scatter_key
from guestloop.results.records import Round
from guestloop.stats.inference import rate_limits
from guestloop.stats.judge import EQUIVALENCE_ERROR
from guestloop.stats.samples import Sample, Scatter, scatter_of


@dataclass(frozen=True)
class Rate:
    """The requests of a path in some rounds, per ``unit`` of the guest's work, and how they scatter."""

    unit: str
    sample: Sample
    scatter: Scatter

    @cached_property
    def limits(self) -> tuple[float, float]:
        """It passes each with a probability of EQUIVALENCE_ERROR, as in a verdict."""
        return rate_limits(self.sample, self.scatter, 2 * EQUIVALENCE_ERROR)


def gives_rate(item: Round) -> bool:
    """It proves its work, and no probe was hit while it counted."""
    return is_proven(item) and not item.is_disturbed


def rate_of(path: str, rounds: Sequence[Round], calibration: Calibration) -> Rate:
    """The rate of a path, or of TOTAL, in rounds of one cell and kernel, of which there is one or more."""
    work = work_of(rounds, rounds)
    return Rate(work.unit, sample_of(path, rounds), scatter_in(path, [rounds], calibration))


def sample_of(path: str, rounds: Sequence[Round]) -> Sample:
    """The requests of a path, or of TOTAL, by the work of the guest."""
    counts = tuple(count_of(path, item) for item in rounds)
    return Sample(counts, work_of(rounds, rounds).reference)


def scatter_in(path: str, kernels: Sequence[Sequence[Round]], calibration: Calibration) -> Scatter:
    """That of a path in rounds of one cell: what is known joined with what the rounds of each kernel show.

    As in a verdict, what was learnt on an idle machine is not known of a busy one.
    """
    samples = [sample_of(path, rounds) for rounds in kernels]
    every = [item for rounds in kernels for item in rounds]
    cell, unit = every[0].cell, work_of(every, every).unit
    known = calibration if calibration.holds_for(every) else Calibration()
    mean_count = sum(one.total for one in samples) / len(every)
    scatter = known.scatter(cell.id, cell.test, scatter_key(path, unit), mean_count).scatter
    return scatter.joined(scatter_of(samples))


def count_of(path: str, item: Round) -> int:
    """The flush requests of a path in a round; TOTAL is all but those of what the test itself does."""
    return count_all(item) if path == TOTAL else item.paths.get(path, 0)


def weight_of(path: str, rounds: Iterable[Round]) -> Weight:
    """As in a verdict: judged if the workload is about it, shown if it is what the test itself does."""
    rounds = list(rounds)
    if path == TOTAL or any(path in item.judged for item in rounds):
        return Weight.JUDGED
    return Weight.SHOWN if any(path in item.incidental for item in rounds) else Weight.OTHER


def paths_of(rounds: Iterable[Round]) -> tuple[str, ...]:
    """TOTAL, and every path that was judged or seen, the busiest first."""
    rounds = list(rounds)
    seen = {path for item in rounds for path in (*item.judged, *item.paths)}
    busy = {path: sum(item.paths.get(path, 0) for item in rounds) for path in seen}
    return (TOTAL, *sorted(seen, key=lambda path: (-busy[path], path)))
