# SPDX-License-Identifier: GPL-2.0-or-later
"""What went wrong in the rounds of a cell, and on which of the two kernels that lays it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from guestloop.compare.proof import CellRounds, is_proven, problem
from guestloop.compare.statuses import Claim, Status
from guestloop.ground.words import plural
from guestloop.results.findings import Bearing, FindingKind
from guestloop.results.plan import PlannedKernel
from guestloop.results.records import Correctness, Round
from guestloop.stats.distributions import fisher_one_sided

FAILURE_ERROR = 0.01
"""Of the exact test of two failure rates, where the reference fails as well."""

NEVER_WORKS = 2
"""So many rounds that all prove nothing on one kernel, where all on the other do, are no bad luck: of the
rounds of good kernels fewer than 1 in 100 are invalid."""

A_KERNEL_CAN_CAUSE = frozenset(
    {
        FindingKind.GUEST_FAILED,
        FindingKind.MIGRATION_FAILED,
        FindingKind.TIMED_OUT,
        FindingKind.LINK_LOST,
        FindingKind.REFUSED,
        FindingKind.NOT_PROVEN,
    }
)
"""Of the kinds that make a round invalid, those that a kernel may be the cause of if they come each time. A
kernel that does not boot has a state of its own (kernel_state.py)."""


@dataclass(frozen=True)
class Failures:
    """How many of the rounds on one kernel were wrong."""

    kernel: str
    wrong: int
    rounds: int

    @classmethod
    def of(cls, kernel: PlannedKernel, cell: CellRounds) -> Failures:
        return cls(kernel.name, len(cell.wrong(kernel)), len(cell.on(kernel)))

    @property
    def right(self) -> bool:
        return not self.wrong

    def __str__(self) -> str:
        """``wrong on patched in 1 of 6 rounds``."""
        return f"wrong on {self.kernel} in {self.wrong} of {plural(self.rounds, 'round')}"


def judge_correctness(cell: CellRounds, candidate: PlannedKernel) -> Claim | None:
    """The claim that follows from what went wrong on the two kernels; None when nothing did."""
    reference = cell.kernels.reference
    before, after = (Failures.of(kernel, cell) for kernel in (reference, candidate))
    if before.right and after.right:
        return _never_works(cell, candidate)
    if twins := _unreliable_build(cell, candidate):
        return Status.INCONCLUSIVE, _no_claim(cell.wrong(*twins), len(cell.on(*twins)))
    finding = _first_finding(cell.wrong(reference, candidate))
    if before.wrong and after.wrong:
        return _both(before, after, finding)
    failed, other = (after, before) if after.wrong else (before, after)
    unknown = cell.correctness[other.kernel] is not Correctness.PASS
    if unknown and not _always(failed, cell.by_kernel[other.kernel]):
        return Status.INCONCLUSIVE, f"{failed}, not checked in every round on {other.kernel}{finding}"
    said = f"{failed}, right on {other.kernel}{finding}{_repeated(cell.by_kernel[failed.kernel])}"
    return (Status.BROKEN if failed is after else Status.FIXED), said


def _both(before: Failures, after: Failures, finding: str) -> Claim:
    """The reference can fail too, and an exact test of both failure rates decides."""
    said = f"{after}, {before}"
    for status, one, other in ((Status.BROKEN, after, before), (Status.FIXED, before, after)):
        p = fisher_one_sided(one.wrong, one.rounds, other.wrong, other.rounds)
        if p < FAILURE_ERROR:
            return status, f"{said}, p {p:.2g}{finding}"
    return Status.INCONCLUSIVE, f"wrong on both kernels: {said}{finding}"


def _always(failed: Failures, others: Sequence[Round]) -> bool:
    """All rounds of one kernel are wrong; the other has invalid ones, and right ones."""
    return failed.wrong == failed.rounds and any(map(is_proven, others))


def _never_works(cell: CellRounds, candidate: PlannedKernel) -> Claim | None:
    """No round of one kernel proves its work, and all of the other do."""
    reference = cell.kernels.reference
    if candidate.is_same_build(reference):
        return None
    for status, bad, good in (
        (Status.BROKEN, candidate, reference),
        (Status.FIXED, reference, candidate),
    ):
        failed = [problem(item) for item in cell.on(bad) if _may_be_the_kernel(item)]
        enough = NEVER_WORKS <= len(failed) == len(cell.on(bad))
        if enough and cell.correctness[good.name] is Correctness.PASS and len(cell.on(good)) >= NEVER_WORKS:
            said = f"no round of {len(failed)} works on {bad.name}, all {len(cell.on(good))} on {good.name}"
            return status, f"{said}: {failed[0]}"
    return None


def _may_be_the_kernel(item: Round) -> bool:
    kinds = {finding.kind for finding in item.findings if finding.kind.bearing is Bearing.INVALID}
    return bool(kinds) and kinds <= A_KERNEL_CAN_CAUSE


def _unreliable_build(cell: CellRounds, candidate: PlannedKernel) -> Sequence[PlannedKernel]:
    """Identical kernels that take the ground from any claim about correctness; empty when there are none.

    They are the two that are compared, when these are the same build, or else those of one build, of
    either of the two, that passed under one name and failed under another.
    """
    reference = cell.kernels.reference
    if candidate.is_same_build(reference):
        return cell.kernels.same_build_as(reference)
    for kernel in (reference, candidate):
        twins = cell.kernels.same_build_as(kernel)
        if {Correctness.PASS, Correctness.FAIL} <= {cell.correctness[twin.name] for twin in twins}:
            return twins
    return ()


def _no_claim(failed: Sequence[Round], rounds: int) -> str:
    first = f"{failed[0].kernel}, round {failed[0].round}{_first_finding(failed)}"
    return (
        f"no difference can be claimed between identical kernels: failed in {len(failed)} of {rounds} "
        f"rounds ({first}): the lab, or this kernel itself"
    )


def _repeated(rounds: Sequence[Round]) -> str:
    """What came of the repeat of a lone wrong round, to be added to a sentence."""
    wrong = [item for item in rounds if item.is_wrong]
    repeats = [item for item in rounds if item.repeats and item.repeats == wrong[0].round]
    if len(wrong) != 1 or not repeats:
        return ""
    return f" (round {wrong[0].round}; its repeat, round {repeats[0].round}, was right)"


def _first_finding(wrong: Sequence[Round]) -> str:
    """What the first of these rounds that found something said of it, to be added to a sentence."""
    said = [line for item in wrong if (line := item.first_line(Bearing.WRONG))]
    return f": {said[0]}" if said else ""
