# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rounds of a cell prove about a kernel, before any figures are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guestloop.compare.statuses import Status
from guestloop.counters import FLUSH_REQUESTS, inconsistency
from guestloop.results.cells import Cell
from guestloop.results.findings import Bearing
from guestloop.results.plan import Kernels, Plan, PlannedKernel
from guestloop.results.records import Correctness, Round


@dataclass(frozen=True)
class CellRounds:
    """The rounds of one cell by kernel, and what they say about the correctness of each kernel.

    Both maps have every kernel that was measured, in the order of the plan. ``planned`` is the number of
    rounds that each kernel should have.
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
        correctness = {name: _correctness(own, plan.rounds) for name, own in by_kernel.items()}
        return cls(cell, plan.kernels, plan.rounds, by_kernel, correctness)

    def on(self, *kernels: PlannedKernel) -> list[Round]:
        """The rounds on these kernels, one kernel after the other."""
        return [item for kernel in kernels for item in self.by_kernel[kernel.name]]

    def why_unusable(self, candidate: PlannedKernel) -> tuple[Status, str] | None:
        """Why the candidate cannot be compared with the reference: invalid before skipped before missing."""
        pair = (self.kernels.reference, candidate)
        rounds = self.on(*pair)
        for item in rounds:
            if problem := _problem(item):
                return Status.INVALID, f"{item.kernel}, round {item.round}: {problem}"
        if skipped := [item for item in rounds if item.is_skipped]:
            return Status.SKIPPED, skipped[0].first_line(Bearing.SKIPPED) or "skipped without a reason"
        for kernel in pair:
            if (seen := len(self.by_kernel[kernel.name])) < self.planned:
                return Status.INVALID, f"{kernel.name}: {seen} of {self.planned} rounds were written"
        if len(events := sorted({item.event for item in rounds})) > 1:
            return Status.INVALID, f"rounds count different events: {', '.join(events)}"
        return None


def _correctness(rounds: Sequence[Round], planned: int) -> Correctness:
    """A kernel fails when any round failed, and passes when every planned round passed with proof."""
    if any(item.is_wrong for item in rounds):
        return Correctness.FAIL
    proven = [item for item in rounds if not item.is_skipped and not _problem(item)]
    return Correctness.PASS if len(proven) == len(rounds) >= planned else Correctness.NOT_RUN


def _problem(item: Round) -> str:
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
