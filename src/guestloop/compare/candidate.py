# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rounds of one cell say of one candidate, compared with the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from guestloop.compare.calibration import Calibration
from guestloop.compare.claims import Claims, Evidence
from guestloop.compare.comparison import Comparison
from guestloop.compare.correctness import judge_correctness
from guestloop.compare.drivers import per_work, work_of
from guestloop.compare.error_budget import ErrorBudget
from guestloop.compare.kinds import Kind, kind_of
from guestloop.compare.load import UNLIKE, of_like_load
from guestloop.compare.proof import CellRounds
from guestloop.compare.statements import TOTAL, Statement, Subject, statements_of
from guestloop.compare.statuses import Claim, Status
from guestloop.results.cells import Cell
from guestloop.results.plan import Plan, PlannedKernel
from guestloop.results.reach import reach_of
from guestloop.results.records import Round
from guestloop.stats.judge import MOST_ROUNDS, judge
from guestloop.stats.samples import scatter_of

CHANGES = frozenset({Status.MORE, Status.FEWER, Status.MOVED, Status.UNEXPLAINED})

LEAST_FOR_A_CHANGE = 2
"""Rounds of each kernel that a change is to be seen in, where there can be so many. One may be unlike all
others, and what was learnt of how rounds scatter need not know of it."""

DISTURBED = "probes on the functions that differ were hit in all rounds so far, so that none gives a rate"


@dataclass(frozen=True)
class CandidateVerdict:
    """The verdict on one candidate in one cell.

    ``decisive`` is what ``comparison`` in verdict.json describes: the statement that made the status, else
    the busiest judged one. ``comparisons`` has all of them, the weightiest first. Both are empty when the
    cell was not measured on both kernels. ``accepted``: the status is one that a kernel of this kind may
    have, though of another it would be open. ``used`` is how many rounds of the reference and of the
    candidate the figures rest on, ``unlike_load`` how many pairs of rounds were not compared because the load
    of the machine changed from one to the other. ``awaits_rounds``: more rounds are needed, whatever the
    figures are. ``busy``: the machine was busier than the one that was calibrated, so that the scatter
    of rounds is assumed. ``reach`` is what was seen of the functions that differ; None if that was not looked
    at.
    """

    status: Status
    reason: str
    decisive: Comparison | None = None
    comparisons: tuple[Comparison, ...] = ()
    accepted: bool = False
    used: tuple[int, int] = (0, 0)
    unlike_load: int = 0
    awaits_rounds: bool = False
    busy: bool = False
    reach: Evidence | None = None

    @property
    def undecided(self) -> bool:
        return self.status.undecided and not self.accepted

    @property
    def total(self) -> Comparison | None:
        """All flush requests for the work of the guest."""
        return next((one for one in self.comparisons if one.name == TOTAL), None)

    @property
    def paths(self) -> tuple[Comparison, ...]:
        """The call paths."""
        return tuple(one for one in self.comparisons if one.statement.subject is Subject.PATH)

    @property
    def rounds_wanted(self) -> int:
        """So many rounds of each kernel, in all, would settle what is open; 0: nothing is."""
        wanted = [one.judgement.rounds_needed or MOST_ROUNDS for one in self.comparisons if one.is_open]
        return max(wanted, default=1 if self.awaits_rounds else 0)


@dataclass(frozen=True)
class CandidateRounds:
    """One candidate in one cell before it is judged: what can be stated about it, or why nothing can.

    ``most_rounds`` of each kernel are planned.
    """

    cell: CellRounds
    candidate: PlannedKernel
    reference_rounds: tuple[Round, ...] = ()
    candidate_rounds: tuple[Round, ...] = ()
    statements: tuple[Statement, ...] = ()
    unusable: Claim | None = None
    unlike_load: int = 0
    awaits_rounds: bool = False
    correctness_only: bool = False
    evidence: Evidence | None = None
    most_rounds: int = 1

    @classmethod
    def of(cls, plan: Plan, cell: CellRounds, candidate: PlannedKernel) -> CandidateRounds:
        """Find what can be stated."""
        evidence = _evidence(plan, cell, candidate)
        if unusable := cell.why_unusable(candidate):
            return cls(cell, candidate, unusable=unusable, evidence=evidence)
        proven = [cell.proven(kernel) for kernel in (cell.kernels.reference, candidate)]
        pair = [[item for item in own if not item.is_disturbed] for own in proven]
        if not all(pair):
            return cls._without_rates(plan, cell, candidate, DISTURBED)
        before, after, unlike = of_like_load(*pair)
        if not before or not after:
            return cls._without_rates(plan, cell, candidate, UNLIKE, len(unlike))
        return cls(
            cell,
            candidate,
            before,
            after,
            statements_of(before, after),
            unlike_load=len(unlike),
            correctness_only=plan.correctness_only,
            evidence=evidence,
            most_rounds=plan.looks[-1],
        )

    @classmethod
    def _without_rates(
        cls, plan: Plan, cell: CellRounds, candidate: PlannedKernel, why: str, unlike_load: int = 0
    ) -> CandidateRounds:
        """Its rounds prove what they prove, and give no rate that could be compared."""
        if plan.correctness_only:
            said = Status.SAME, f"no verdict on cost: {why}"
        else:
            said = Status.INCONCLUSIVE, why
        return cls(
            cell,
            candidate,
            unusable=said,
            unlike_load=unlike_load,
            awaits_rounds=not plan.correctness_only,
            evidence=_evidence(plan, cell, candidate),
        )

    @property
    def kind(self) -> Kind:
        return kind_of(self.cell.kernels.reference, self.candidate)

    def judge(self, calibration: Calibration, budget: ErrorBudget) -> CandidateVerdict:
        """Compare the candidate with the reference.

        What is wrong decides, even in a round that proves nothing: nothing else makes up for it.
        """
        wrong = judge_correctness(self.cell, self.candidate)
        if self.unusable:
            status, reason = wrong or self.unusable
            awaits = self.awaits_rounds and not wrong
            return CandidateVerdict(
                status, reason, unlike_load=self.unlike_load, awaits_rounds=awaits, reach=self.evidence
            )
        busy = not calibration.holds_for([*self.reference_rounds, *self.candidate_rounds])
        known = Calibration() if busy else calibration
        comparisons = tuple(self._compare(known, budget))
        # Nothing is declared about how a kernel differs from itself.
        covered = self.kind is Kind.IDENTICAL or self.candidate.reach.covers(self.cell.cell.mmu)
        claims = Claims(
            self.kind,
            comparisons,
            self.candidate.expect,
            self.candidate.reach,
            covered,
            self.correctness_only,
            self.evidence,
        )
        status, reason = wrong or claims.claim()
        seen_once = not wrong and status in CHANGES and self._is_to_be_repeated
        if seen_once:
            status, reason = Status.INCONCLUSIVE, f"one round is not enough for a change: {reason}"
        return CandidateVerdict(
            status,
            reason,
            awaits_rounds=seen_once,
            decisive=claims.decisive(),
            comparisons=comparisons,
            accepted=status is Status.MOVED and claims.accepted,
            unlike_load=self.unlike_load,
            used=(len(self.reference_rounds), len(self.candidate_rounds)),
            busy=busy,
            reach=self.evidence,
        )

    @property
    def _is_to_be_repeated(self) -> bool:
        """A kernel has but one round that gives a rate, and the plan has more rounds than were measured."""
        measured = min(len(self.cell.on(one)) for one in (self.cell.kernels.reference, self.candidate))
        rates = min(len(self.reference_rounds), len(self.candidate_rounds))
        return rates < LEAST_FOR_A_CHANGE and measured < self.most_rounds

    def _compare(self, calibration: Calibration, budget: ErrorBudget) -> Iterator[Comparison]:
        rounds = self.reference_rounds, self.candidate_rounds
        work = work_of(*rounds)
        lacking = [{path for item in own for path in item.absent_paths} for own in rounds]
        for statement in self.statements:
            is_path = statement.subject is Subject.PATH
            yield replace(
                compare_statement(self.cell.cell, statement, calibration, budget),
                per_work=per_work(statement.reference, statement.tested, work),
                absent=(is_path and statement.name in lacking[0], is_path and statement.name in lacking[1]),
            )


def _evidence(plan: Plan, cell: CellRounds, candidate: PlannedKernel) -> Evidence | None:
    """Which of the functions that differ were seen to run; None if none is known to differ."""
    if candidate.changes is None or candidate.is_same_build(cell.kernels.reference):
        return None
    known = plan.known_reach.get(candidate.name, {}).get(cell.cell.id)
    reference, own = cell.on(cell.kernels.reference), cell.on(candidate)
    return reach_of(candidate.changes, reference, own, known)


def compare_statement(
    cell: Cell, statement: Statement, calibration: Calibration, budget: ErrorBudget
) -> Comparison:
    """Judge one statement with the scatter that is known and the one that is seen."""
    samples = statement.reference, statement.tested
    mean_count = sum(one.total for one in samples) / sum(len(one.counts) for one in samples)
    known = calibration.scatter(cell.id, cell.test, statement.key, mean_count)
    scatter = known.scatter.joined(scatter_of(samples))
    bounds, alpha = statement.bounds, budget.alpha(statement)
    judgement = judge(statement.reference, statement.tested, scatter, bounds, alpha)
    return Comparison(statement, judgement, known.calibrated)
