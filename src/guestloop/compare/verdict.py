"""The verdict on a run: one word, one line, one exit status."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from guestloop.compare.cell_verdict import CellVerdict, Status, is_same_kernel, judge_cell, render_change
from guestloop.ground.errors import Exit, LabError
from guestloop.results.plan import Plan
from guestloop.results.records import Correctness, Round

LONGEST_REASON = 200
"""Characters of a cell's reason in the answer: ten lost pages fill a screen, and its row has them all."""


class Overall(StrEnum):
    """What a run says about the kernel under test."""

    NO_REGRESSION = "no-regression"
    REGRESSION = "regression"
    INCONCLUSIVE = "inconclusive"
    NOTHING_MEASURED = "nothing-measured"

    @property
    def exit_status(self) -> Exit:
        """Exit status of ``scripts/run`` (contract)."""
        return {
            Overall.NO_REGRESSION: Exit.OK,
            Overall.REGRESSION: Exit.REGRESSION,
            Overall.INCONCLUSIVE: Exit.INCONCLUSIVE,
            Overall.NOTHING_MEASURED: Exit.LAB,
        }[self]


@dataclass(frozen=True)
class Verdict:
    """The verdict on a run, its cells in the order of the plan, and one line that stands alone."""

    overall: Overall
    answer: str
    cells: tuple[CellVerdict, ...]

    @property
    def exit_status(self) -> Exit:
        return self.overall.exit_status


def compare(plan: Plan, rounds: Sequence[Round]) -> Verdict:
    """Judge all rounds of a run against its plan; ``plan.kernels`` are reference and kernel under test.

    Raises LabError for a round of a cell or a kernel that was not planned: then rounds of two runs
    are mixed, and no verdict can be trusted.
    """
    _refuse_strangers(plan, rounds)
    cells = tuple(
        judge_cell(plan, cell, [item for item in rounds if item.cell.id == cell.id]) for cell in plan.cells
    )
    overall = judge_overall([cell.status for cell in cells])
    return Verdict(overall, _answer(plan, overall, cells), cells)


def judge_overall(statuses: Sequence[Status]) -> Overall:
    """Regression before all; a run passes only when something was measured and nothing is open."""
    if any(status.regression for status in statuses):
        return Overall.REGRESSION
    if not any(status.measured for status in statuses):
        return Overall.NOTHING_MEASURED
    if any(status.undecided for status in statuses):
        return Overall.INCONCLUSIVE
    return Overall.NO_REGRESSION


def _refuse_strangers(plan: Plan, rounds: Sequence[Round]) -> None:
    cells, kernels = {cell.id for cell in plan.cells}, {kernel.name for kernel in plan.kernels}
    for item in rounds:
        if item.cell.id not in cells or item.kernel not in kernels:
            raise LabError(
                f"round {item.round} of {item.cell.id} on {item.kernel} is not in the plan",
                hint="were the results of two runs written to one directory?",
            )


def _answer(plan: Plan, overall: Overall, cells: Sequence[CellVerdict]) -> str:
    word = {
        Overall.NO_REGRESSION: "no difference" if _nothing_differs(plan, cells) else "no regression",
        Overall.REGRESSION: "regression",
        Overall.INCONCLUSIVE: "inconclusive",
        Overall.NOTHING_MEASURED: "nothing measured",
    }[overall]
    size = f"{plan.accelerator}, {plural(len(cells), 'cell')} x {plural(plan.rounds, 'round')}"
    return f"{word}: {', '.join(_parts(cells))}; {size}"


def _nothing_differs(plan: Plan, cells: Sequence[CellVerdict]) -> bool:
    """An A/A run in which no measured cell differs."""
    calm = (Status.SAME, Status.CANNOT_DIFFER)
    return is_same_kernel(plan) and all(cell.status in calm for cell in cells if cell.status.measured)


def _parts(cells: Sequence[CellVerdict]) -> list[str]:
    """The bad news first, each with its first example."""
    parts = [
        part
        for status, what in (
            (Status.BROKEN, "broken"),
            (Status.MORE, "with more flushes"),
            (Status.INCONCLUSIVE, "inconclusive"),
            (Status.INVALID, "invalid"),
            (Status.FIXED, "fixed"),
        )
        if (part := _part(cells, status, what))
    ]
    calm = Counter(cell.status for cell in cells)
    if quiet := calm[Status.SAME] + calm[Status.CANNOT_DIFFER]:
        words = {Status.SAME: "same", Status.CANNOT_DIFFER: "cannot differ"}
        said = " or ".join(word for status, word in words.items() if calm[status])
        parts.append(f"{plural(quiet, 'cell')} {said}")
    parts += [part for part in [_part(cells, Status.FEWER, "with fewer flushes")] if part]
    parts += [part for part in [_part(cells, Status.SKIPPED, "skipped")] if part]
    return [*(parts or ["no cells"]), *_contents(cells)]


def _part(cells: Sequence[CellVerdict], status: Status, what: str) -> str:
    found = [cell for cell in cells if cell.status is status]
    if not found:
        return ""
    first = found[0]
    detail = f"{first.cell.id}: {textwrap.shorten(first.reason, LONGEST_REASON, placeholder=' …')}"
    if status is Status.FEWER and first.decisive:
        detail = f"{first.decisive.path} {render_change(first.decisive.figures)} per event"
    return f"{plural(len(found), 'cell')} {what} ({detail})"


def _contents(cells: Sequence[CellVerdict]) -> list[str]:
    measured = [cell for cell in cells if cell.status.measured]
    right = all(one is Correctness.PASS for cell in measured for one in cell.correctness.values())
    if not measured or not right:
        return []
    return ["contents correct " + ("everywhere" if len(measured) == len(cells) else "in every measured cell")]


def plural(number: int, noun: str) -> str:
    """``1 cell``, ``2 cells``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
