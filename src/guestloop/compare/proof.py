# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rounds of a cell prove about a kernel, before any figures are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guestloop.compare.statuses import Claim, Status
from guestloop.counters import FLUSH_REQUESTS, inconsistency
from guestloop.results.cells import Cell
from guestloop.results.findings import Bearing, FindingKind
from guestloop.results.plan import Kernels, Plan, PlannedKernel
from guestloop.results.records import Correctness, Round


@dataclass(frozen=True)
class CellRounds:
    """The rounds of one cell by kernel, and what they say about the correctness of each kernel.

    Both maps have every kernel that was measured, in the order of the plan. ``planned`` is the number of
    rounds that each kernel must have.
    """

    cell: Cell
    kernels: Kernels
    planned: int
    by_kernel: Mapping[str, Sequence[Round]]
    correctness: Mapping[str, Correctness]

    @classmethod
    def of(cls, plan: Plan, cell: Cell, rounds: Sequence[Round]) -> CellRounds:
        """Sort the rounds of a cell by kernel."""
        names = [kernel.name for kernel in plan.kernels.measured]
        by_kernel = {name: [item for item in rounds if item.kernel == name] for name in names}
        correctness = {name: correctness_of(own, plan.rounds) for name, own in by_kernel.items()}
        return cls(cell, plan.kernels, plan.rounds, by_kernel, correctness)

    def on(self, *kernels: PlannedKernel) -> list[Round]:
        """The rounds on these kernels, one kernel after the other."""
        return [item for kernel in kernels for item in self.by_kernel[kernel.name]]

    def proven(self, kernel: PlannedKernel) -> list[Round]:
        """The rounds on a kernel that prove that they did their work."""
        return [item for item in self.by_kernel[kernel.name] if is_proven(item)]

    def wrong(self, *kernels: PlannedKernel) -> list[Round]:
        """The rounds on these kernels that are wrong, one kernel after the other."""
        return [item for kernel in kernels for item in wrong_ones(self.by_kernel[kernel.name])]

    def why_unusable(self, candidate: PlannedKernel) -> Claim | None:
        """Why the candidate cannot be compared with the reference: invalid before skipped before missing.

        A round that proves nothing is no obstacle where another was measured in its place.
        """
        pair = (self.kernels.reference, candidate)
        lacking = [kernel for kernel in pair if len(self.proven(kernel)) < self.planned]
        for item in self.on(*lacking):
            if why := problem(item):
                return Status.INVALID, f"{item.kernel}, round {item.round}: {why}"
        if skipped := [item for item in self.on(*lacking) if item.is_skipped]:
            return Status.SKIPPED, skipped[0].first_line(Bearing.SKIPPED) or "skipped without a reason"
        for kernel in lacking:
            seen = len(self.by_kernel[kernel.name])
            return Status.INVALID, f"{kernel.name}: {seen} of {self.planned} rounds were written"
        events = sorted({item.event for kernel in pair for item in self.proven(kernel)})
        if len(events) > 1:
            return Status.INVALID, f"rounds count different events: {', '.join(events)}"
        return None


def wrong_ones(rounds: Sequence[Round]) -> list[Round]:
    """Those of one kernel's rounds in a cell that are wrong.

    Shares of idle or young pages beyond what is usual are wrong if every round has them. If any is right,
    they scatter, and are compared like all that scatters (statements.py).
    """
    found = [item for item in rounds if item.is_wrong]
    if all(_only_shares(item) for item in found) and any(map(_is_right, rounds)):
        return []
    return found


def _only_shares(item: Round) -> bool:
    kinds = {finding.kind for finding in item.findings if finding.kind.bearing is Bearing.WRONG}
    return kinds == {FindingKind.RATES}


def _is_right(item: Round) -> bool:
    return item.correctness is Correctness.PASS and is_proven(item)


def is_proven(item: Round) -> bool:
    """Measured, and proves that it did its work."""
    return not item.is_skipped and not problem(item)


def correctness_of(rounds: Sequence[Round], planned: int) -> Correctness:
    """A kernel fails when any round failed, and passes when as many as were planned passed with proof."""
    if wrong_ones(rounds):
        return Correctness.FAIL
    proven = [item for item in rounds if is_proven(item)]
    return Correctness.PASS if len(proven) >= planned else Correctness.NOT_RUN


def problem(item: Round) -> str:
    """Why a round proves nothing; empty for a measured or skipped one. Trusts no outcome blindly."""
    if item.is_invalid:
        return item.first_line(Bearing.INVALID) or "invalid without a reason"
    if item.is_skipped:
        return ""
    if item.events.get(item.event, 0) <= 0:
        return f"no {item.event or 'event'} was counted"
    if FLUSH_REQUESTS not in item.counters:
        return f"{FLUSH_REQUESTS} was not read"
    if item.correctness is Correctness.NOT_RUN:
        return "the contents of memory were not checked"
    return inconsistency(item.paths, item.counters[FLUSH_REQUESTS])
