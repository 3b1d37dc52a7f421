# SPDX-License-Identifier: GPL-2.0-or-later
"""What the judgement promises, counted: runs drawn from real rounds of good kernels.

How widely rounds scatter is learnt from one half of the boots, and runs are drawn from the other half, then
the other way round; so nothing is judged by what it was learnt from.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from guestloop.compare.calibration import Calibration, learn
from guestloop.compare.candidate import compare_statement
from guestloop.compare.claims import Claims
from guestloop.compare.error_budget import ErrorBudget
from guestloop.compare.kinds import Kind
from guestloop.compare.statements import Statement, Subject, Weight, statements_of
from guestloop.compare.statuses import Status
from guestloop.results.good_rounds import GoodRound, by_cell
from guestloop.results.plan import Reach
from guestloop.results.records import Round
from guestloop.stats.judge import Change
from guestloop.stats.samples import Sample

FACTORS = (1.25, 2.0, 0.5, 0.0)
FALSE = frozenset({Status.MORE, Status.UNEXPLAINED, Status.FEWER})
LEAST_COUNT = 20
"""Power is counted on paths with so many requests in a round; what is rarer is a matter of exact tests."""


@dataclass(frozen=True)
class Resampled:
    """What came of runs in which nothing differed, and of changes that were put in.

    ``rounds`` are those of each kernel. ``run_alarms`` has the number of false claims of each run,
    ``statuses`` counts cells, ``alarms`` the statements of false claims. ``found`` and ``tried`` are by
    weight and factor of the change.
    """

    rounds: int
    run_alarms: list[int] = field(default_factory=list)
    statuses: Counter[Status] = field(default_factory=Counter)
    alarms: Counter[str] = field(default_factory=Counter)
    found: Counter[tuple[Weight, float]] = field(default_factory=Counter)
    tried: Counter[tuple[Weight, float]] = field(default_factory=Counter)

    @property
    def runs(self) -> int:
        return len(self.run_alarms)

    @property
    def false_runs(self) -> int:
        """Runs with any false claim."""
        return sum(map(bool, self.run_alarms))

    @property
    def open_cells(self) -> float:
        """Cells of a run that are not settled."""
        return self.statuses[Status.INCONCLUSIVE] / self.runs

    def power(self, weight: Weight, factor: float) -> float | None:
        """The share of changes by this factor that were found; None when there was no path to try."""
        tried = self.tried[weight, factor]
        return self.found[weight, factor] / tried if tried else None


def resample(good: Sequence[GoodRound], rounds: int, runs: int, seed: int = 1) -> Resampled:
    """Draw runs of this many rounds per kernel, half of them from each half of the boots."""
    rng = random.Random(seed)
    result = Resampled(rounds)
    for learnt_from, drawn_from in _halves(good, rng):
        calibration = learn(by_cell(learnt_from))
        pool = [own for own in by_cell(drawn_from) if len(own) > 1]
        for _ in range(runs // 2):
            _draw_run(pool, rounds, calibration, rng, result)
    return result


def _halves(
    good: Sequence[GoodRound], rng: random.Random
) -> Iterator[tuple[list[GoodRound], list[GoodRound]]]:
    boots = sorted({item.boot for item in good})
    rng.shuffle(boots)
    first = set(boots[: len(boots) // 2])
    one = [item for item in good if item.boot in first]
    other = [item for item in good if item.boot not in first]
    yield one, other
    yield other, one


def _draw_run(
    pool: Sequence[Sequence[Round]],
    rounds: int,
    calibration: Calibration,
    rng: random.Random,
    result: Resampled,
) -> None:
    drawn = [_draw_pair(own, rounds, rng) for own in pool]
    stated = [statements_of(before, after) for before, after in drawn]
    budget = ErrorBudget.divided(each for own in stated for each in own)
    alarms = 0
    for (before, _), statements in zip(drawn, stated, strict=True):
        cell = before[0].cell
        comparisons = [compare_statement(cell, each, calibration, budget) for each in statements]
        claims = Claims(Kind.SERIES, comparisons, (), Reach(), covered=True)
        status, _ = claims.claim()
        result.statuses[status] += 1
        if status in FALSE:
            alarms += 1
            decisive = claims.decisive()
            result.alarms[f"{cell.id}: {decisive.render() if decisive else ''}"] += 1
        for each in statements:
            _try_changes(before[0], each, calibration, budget, rng, result)
    result.run_alarms.append(alarms)


def _draw_pair(own: Sequence[Round], rounds: int, rng: random.Random) -> tuple[list[Round], list[Round]]:
    """Rounds of two kernels that are one: none twice if there are enough, else none on both sides."""
    shuffled = rng.sample(own, len(own))
    half = max(1, min(rounds, len(own) // 2))
    sides = shuffled[:half], shuffled[half : 2 * half]
    before, after = ([side[index % half] for index in range(rounds)] for side in sides)
    return before, after


def _try_changes(
    item: Round,
    statement: Statement,
    calibration: Calibration,
    budget: ErrorBudget,
    rng: random.Random,
    result: Resampled,
) -> None:
    """Put changes into one statement about a path, and count those that are found."""
    rare = statement.tested.total < LEAST_COUNT * len(statement.tested.counts)
    if statement.subject is not Subject.PATH or statement.weight is Weight.SHOWN or rare:
        return
    for factor in FACTORS:
        counts = tuple(_scaled(count, factor, rng) for count in statement.tested.counts)
        changed = replace(statement, tested=Sample(counts, statement.tested.exposures))
        judgement = compare_statement(item.cell, changed, calibration, budget).judgement
        result.tried[statement.weight, factor] += 1
        result.found[statement.weight, factor] += judgement.change is (
            Change.MORE if factor > 1 else Change.FEWER
        )


def _scaled(count: int, factor: float, rng: random.Random) -> int:
    """A count of a rate that is ``factor`` times as large, rounded at random so that the mean is right."""
    exact = count * factor
    return int(exact) + (rng.random() < exact - int(exact))
