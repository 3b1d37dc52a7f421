# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict in one line that stands alone: the bad news first, each with its first example.

The summary is the same line without the examples, for where they stand beside it.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guestloop.compare.between import describe_between
from guestloop.compare.candidate import CandidateVerdict
from guestloop.compare.cell_verdict import CellVerdict
from guestloop.compare.differences import Difference
from guestloop.compare.expectations import Met
from guestloop.compare.kernel_state import KernelVerdict
from guestloop.compare.kinds import kind_of
from guestloop.compare.statuses import Overall, Status
from guestloop.ground.words import plural
from guestloop.results.cells import Cell
from guestloop.results.plan import Plan
from guestloop.results.records import Correctness

LONGEST_REASON = 200
"""Characters of a cell's reason in the answer: ten lost pages fill a screen, and its row has them all."""

QUIET = {Status.SAME: "same", Status.CANNOT_DIFFER: "cannot differ"}
"""Cells of these share one count and need no example."""

BEFORE_QUIET = {
    Status.BROKEN: "broken",
    Status.MORE: "with more",
    Status.UNEXPLAINED: "unexplained",
    Status.MOVED: "moved",
    Status.INCONCLUSIVE: "inconclusive",
    Status.INVALID: "invalid",
    Status.FIXED: "fixed",
}
AFTER_QUIET = {Status.FEWER: "with fewer flushes", Status.SKIPPED: "skipped"}


@dataclass(frozen=True)
class _Row:
    """One candidate in one cell."""

    cell: Cell
    verdict: CandidateVerdict

    @property
    def status(self) -> Status:
        return self.verdict.status


def render_answer(
    plan: Plan,
    overall: Overall,
    cells: Sequence[CellVerdict],
    kernels: Mapping[str, KernelVerdict],
    differences: Sequence[Difference],
    *,
    examples: bool = True,
) -> str:
    """The answer; of several candidates each has a part of its own, the worst candidate first."""
    word = "no difference" if _nothing_differs(plan, overall, cells) else overall.replace("-", " ")
    rows = {
        kernel.name: [_Row(cell.cell, cell.candidates[kernel.name]) for cell in cells if not kernel.failure]
        for kernel in plan.kernels.candidates
    }
    said = {}
    for kernel in plan.kernels.candidates:
        own = rows[kernel.name]
        kind, verdicts = kind_of(plan.kernels.reference, kernel), [row.verdict for row in own]
        between = (
            describe_between(plan, kernel, kind, verdicts, differences, examples=examples) if own else []
        )
        said[kernel.name] = ", ".join([*_parts(own, kernels[kernel.name], examples), *between])
    further = [
        *_reference(kernels[plan.kernels.reference.name]),
        *_late(kernels, examples),
        *_contents(cells),
    ]
    size = _size(plan, cells)
    if len(said) == 1:
        return f"{word}: {', '.join([*said.values(), *further])}; {size}"
    names = sorted(rows, key=lambda name: sorted(row.status.severity for row in rows[name]))
    return f"{word}: {'; '.join([*(f'{name}: {said[name]}' for name in names), *further, size])}"


def _size(plan: Plan, cells: Sequence[CellVerdict]) -> str:
    if not cells:
        return "nothing was measured"
    rounds = plural(_most_rounds(cells), "round")
    if len(plan.looks) > 1:
        rounds = f"{plan.rounds} to {rounds}"
    cost = ", no verdict on cost" if plan.correctness_only else ""
    return f"{plan.accelerator}, {plural(len(cells), 'cell')} x {rounds}{cost}"


def _most_rounds(cells: Sequence[CellVerdict]) -> int:
    """Of any cell on one kernel, rounds that were repeated left out."""
    counted = Counter(
        (item.cell.id, item.kernel) for cell in cells for item in cell.rounds if not item.repeats
    )
    return max(counted.values(), default=0)


def _nothing_differs(plan: Plan, overall: Overall, cells: Sequence[CellVerdict]) -> bool:
    """An A/A run in which no measured cell differs."""
    measured = [one.status for cell in cells for one in cell.candidates.values() if one.status.measured]
    calm = overall is Overall.NO_REGRESSION and all(status in QUIET for status in measured)
    return calm and plan.kernels.are_identical


def _parts(rows: Sequence[_Row], kernel: KernelVerdict, examples: bool) -> list[str]:
    """How many cells have which status; for a kernel that was not built or did not boot that says it all."""
    if not kernel.booted:
        return [_shorten(kernel.reason)]
    quiet = [row for row in rows if row.status in QUIET]
    words = " or ".join(word for status, word in QUIET.items() if any(row.status is status for row in quiet))
    parts = [
        *(_part(rows, status, word, examples) for status, word in BEFORE_QUIET.items()),
        f"{plural(len(quiet), 'cell')} {words}" if quiet else "",
        *(_part(rows, status, word, examples) for status, word in AFTER_QUIET.items()),
    ]
    parts += [str(one) for one in kernel.expectations if one.met is not Met.MET]
    return [part for part in parts if part] or ["no cells"]


def _part(rows: Sequence[_Row], status: Status, word: str, example: bool) -> str:
    """``2 cells broken (the first of them: why)``; empty when there is none."""
    found = [row for row in rows if row.status is status]
    if not found:
        return ""
    said = f"{plural(len(found), 'cell')} {word}"
    if not example:
        return said
    first = found[0].verdict
    detail = f"{found[0].cell.id}: {_shorten(first.reason)}"
    if status is Status.FEWER and first.decisive:
        detail = first.decisive.render()
    return f"{said} ({detail})"


def _reference(kernel: KernelVerdict) -> list[str]:
    """Why nothing could be compared."""
    return [] if kernel.booted else [f"the reference: {_shorten(kernel.reason)}"]


def _late(kernels: Mapping[str, KernelVerdict], examples: bool) -> list[str]:
    """What an L1 said after its last round, the first line of each."""
    late = {name: kernel.late for name, kernel in kernels.items() if kernel.late}
    return [
        f"{plural(len(lines), 'complaint')} of L1 {name} after its last round"
        + (f" ({_shorten(lines[0])})" if examples else "")
        for name, lines in late.items()
    ]


def _shorten(text: str) -> str:
    return textwrap.shorten(text, LONGEST_REASON, placeholder=" …")


def _contents(cells: Sequence[CellVerdict]) -> list[str]:
    measured = [cell for cell in cells if cell.status.measured]
    right = all(one is Correctness.PASS for cell in measured for one in cell.correctness.values())
    if not measured or not right:
        return []
    return ["contents correct " + ("everywhere" if len(measured) == len(cells) else "in every measured cell")]
