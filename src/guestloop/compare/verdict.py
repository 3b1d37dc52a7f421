# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict on a run: one word, one line, one exit status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from guestloop.compare.answer import render_answer
from guestloop.compare.calibration import Calibration
from guestloop.compare.candidate import CandidateRounds
from guestloop.compare.cell_verdict import CellVerdict
from guestloop.compare.differences import Difference, differences
from guestloop.compare.error_budget import ErrorBudget
from guestloop.compare.expectations import judge_expectations
from guestloop.compare.kernel_state import KernelVerdict, describe_failure, describe_kernel
from guestloop.compare.proof import CellRounds
from guestloop.compare.statuses import Overall, judge_overall
from guestloop.ground.errors import Exit
from guestloop.results.consistency import check
from guestloop.results.plan import Plan, PlannedKernel
from guestloop.results.records import Correctness, Round


@dataclass(frozen=True)
class Verdict:
    """The verdict on a run.

    ``answer`` is one line that stands alone, ``summary`` the same without its examples. ``kernels`` has every
    kernel by name, the reference first; ``cells`` are in the order of the plan. ``differences`` are between
    the kernels, beside the change under test.
    """

    overall: Overall
    answer: str
    summary: str
    kernels: Mapping[str, KernelVerdict]
    cells: tuple[CellVerdict, ...]
    differences: tuple[Difference, ...] = ()

    @property
    def exit_status(self) -> Exit:
        return self.overall.exit_status


def compare(
    plan: Plan,
    rounds: Sequence[Round],
    late: Mapping[str, Sequence[str]] | None = None,
    calibration: Calibration | None = None,
) -> Verdict:
    """Judge all rounds of a run against its plan.

    ``late`` has the complaints of an L1 after its last round, by the name of its kernel. They belong to no
    round, so they decide about no cell, but a run that has any proves no absence of regressions.

    ``calibration`` is what is known of the scatter of rounds; without one it is estimated from the run.

    Raises LabError if plan and rounds do not belong together (results/consistency.py): then rounds of two
    runs are mixed, and no verdict can be trusted.
    """
    late = late or {}
    check(plan, rounds, late)
    cells = _judge_cells(plan, rounds, calibration or Calibration())
    kernels = {
        kernel.name: _describe(
            kernel, [item for item in rounds if item.kernel == kernel.name], late.get(kernel.name, ())
        )
        for kernel in plan.kernels
    }
    for kernel in plan.kernels.candidates:
        kernels[kernel.name] = replace(
            kernels[kernel.name],
            expectations=judge_expectations(kernel, cells),
            regression=_only_it_fails(plan, kernel, kernels),
        )
    overall = judge_overall(
        [candidate.status for cell in cells for candidate in cell.candidates.values()],
        undecided=any(one.undecided for cell in cells for one in cell.candidates.values()),
        reference_boots=kernels[plan.kernels.reference.name].booted,
        failing=any(kernel.regression for kernel in kernels.values()),
        untried=any(kernel.failure for kernel in plan.kernels.candidates),
        unstable=plan.kernels.are_identical and _something_went_wrong(cells, kernels),
        late=any(kernel.late for kernel in kernels.values()),
    )
    differing = differences(plan, rounds)
    known = plan, overall, cells, kernels, differing
    summary = render_answer(*known, examples=False)
    return Verdict(overall, render_answer(*known), summary, kernels, cells, differing)


def _judge_cells(plan: Plan, rounds: Sequence[Round], calibration: Calibration) -> tuple[CellVerdict, ...]:
    """All cells: what can be stated first, since the error is divided among all statements of the run."""
    # Without a candidate that was built nothing was measured, of the reference neither.
    judged = plan.cells if len(plan.kernels.measured) > 1 else ()
    by_cell: dict[str, list[Round]] = {cell.id: [] for cell in judged}
    for item in rounds:
        by_cell.setdefault(item.cell.id, []).append(item)
    gathered = [CellRounds.of(plan, cell, by_cell[cell.id]) for cell in judged]
    stated = [
        {one.name: CandidateRounds.of(plan, cell, one) for one in plan.kernels.candidates if not one.failure}
        for cell in gathered
    ]
    statements = (each for own in stated for one in own.values() for each in one.statements)
    budget = ErrorBudget.divided(statements, len(plan.looks))
    return tuple(
        CellVerdict(
            cell.cell,
            {name: one.judge(calibration, budget) for name, one in own.items()},
            cell.correctness,
            tuple(by_cell[cell.cell.id]),
        )
        for cell, own in zip(gathered, stated, strict=True)
    )


def _describe(kernel: PlannedKernel, rounds: Sequence[Round], late: Sequence[str]) -> KernelVerdict:
    return describe_failure(kernel.failure) if kernel.failure else describe_kernel(rounds, late)


def _only_it_fails(plan: Plan, candidate: PlannedKernel, kernels: Mapping[str, KernelVerdict]) -> bool:
    """A candidate does not compile or boot, and the reference does, which is another build."""
    if candidate.failure:
        return candidate.failure.is_regression
    reference = plan.kernels.reference
    boots = kernels[reference.name].booted and not kernels[candidate.name].booted
    return boots and not candidate.is_same_build(reference)


def _something_went_wrong(cells: Sequence[CellVerdict], kernels: Mapping[str, KernelVerdict]) -> bool:
    wrong = any(Correctness.FAIL in cell.correctness.values() for cell in cells)
    return wrong or not all(kernel.booted for kernel in kernels.values())
