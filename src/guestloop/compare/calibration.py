# SPDX-License-Identifier: GPL-2.0-or-later
"""How widely rounds of one kernel scatter, learnt from rounds of good kernels against themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from guestloop.compare.drivers import work_of
from guestloop.compare.load import LIKE_LOAD, mean_slowdown
from guestloop.compare.statements import Subject, statements_of
from guestloop.results.records import Round
from guestloop.stats.samples import LEAST_CV2, Sample, Scatter, scatter_of

UNKNOWN = Scatter(cv2=0.15**2, df=3)
"""What is assumed of a statement for which nothing was learnt, until the rounds of the run say more."""

POOL_DF = 4.0
"""So many degrees of freedom the mean scatter of a statement in all cells of a test is worth for one of them.
A few rounds that happen to agree are then not taken for proof that there is no scatter."""

Key = tuple[str, str]
"""A cell's id or a test's name, and the key of a statement."""


@dataclass(frozen=True)
class Known:
    """What is known of a scatter before a run; ``calibrated``: from good kernels, else it is assumed."""

    scatter: Scatter
    calibrated: bool


@dataclass(frozen=True)
class Calibration:
    """The scatter of each statement by cell, and by test in all its cells.

    ``slowdowns`` say by cell how slowed down the rounds were that this was learnt from.
    """

    cells: Mapping[Key, Scatter] = field(default_factory=dict)
    tests: Mapping[Key, Sequence[Scatter]] = field(default_factory=dict)
    slowdowns: Mapping[str, float] = field(default_factory=dict)

    def holds_for(self, rounds: Sequence[Round]) -> bool:
        """Whether rounds of a cell ran on a machine that was as idle as the one that was learnt from.

        On a busy one rounds scatter more widely: by 2 to 3 times as much beside a process that took 0.6 of a
        core.
        """
        slowdown = mean_slowdown(rounds)
        usual = self.slowdowns.get(rounds[0].cell.id)
        return slowdown is None or usual is None or slowdown <= LIKE_LOAD * usual

    def scatter(self, cell: str, test: str, statement: str, mean_count: float) -> Known:
        """What is known of a statement, by its key, before a run; ``mean_count`` is that of its rounds."""
        others, own = self.tests.get((test, statement)), self.cells.get((cell, statement))
        if not others:
            return Known(UNKNOWN, calibrated=False)
        pool = _pool(others, 1 / max(mean_count, 1.0))
        return Known(pool.joined(own), calibrated=own is not None)


def learn(groups: Iterable[Sequence[Round]]) -> Calibration:
    """Learn from groups of measured rounds, each of one cell and one kernel."""
    samples: dict[Key, list[Sample]] = {}
    tests: dict[str, str] = {}
    slowdowns: dict[str, list[float]] = {}
    for group in groups:
        cell = group[0].cell
        tests[cell.id] = cell.test
        if slowdown := mean_slowdown(group):
            slowdowns.setdefault(cell.id, []).append(slowdown)
        for key, sample in _samples(group):
            samples.setdefault((cell.id, key), []).append(sample)
    found = {key: scatter_of(own) for key, own in samples.items()}
    cells = {key: scatter for key, scatter in found.items() if scatter}
    usual = {cell: sum(own) / len(own) for cell, own in slowdowns.items()}
    return Calibration(cells, _by_test(cells, tests), usual)


def _by_test(cells: Mapping[Key, Scatter], tests: Mapping[str, str]) -> dict[Key, list[Scatter]]:
    gathered: dict[Key, list[Scatter]] = {}
    for (cell, key), scatter in cells.items():
        gathered.setdefault((tests[cell], key), []).append(scatter)
    return gathered


def _pool(scatters: Sequence[Scatter], poisson: float) -> Scatter:
    """The mean, in which cells weigh the more the more alike their counts are: small counts scatter more."""
    weights = [each.df * min(each.poisson / poisson, poisson / each.poisson) for each in scatters]
    total = sum(weight * max(0.0, each.cv2) for weight, each in zip(weights, scatters, strict=True))
    return Scatter(max(LEAST_CV2, total / sum(weights)), POOL_DF)


def _samples(group: Sequence[Round]) -> Iterator[tuple[str, Sample]]:
    """Each statement, and each by the work of the guest as well, which a comparison may have to use."""
    work = work_of(group, group)
    for statement in statements_of(group, group):
        yield statement.key, statement.reference
        if statement.subject is Subject.PATH and statement.unit != work.unit:
            by_work = replace(statement, unit=work.unit)
            yield by_work.key, Sample(statement.reference.counts, work.reference)
