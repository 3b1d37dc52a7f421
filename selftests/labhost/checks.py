# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run on a lab host has to come to (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from guestloop.compare import Change, Status
from guestloop.report.results import CellResult, Result
from guestloop.results.cells import Mmu
from guestloop.results.records import Correctness, Outcome

ACCELERATOR = "kvm"
TELLING_CELL = ("asyncpf", Mmu.SHADOW)
TELLING_PATH = "async_page_ready"
"""Where the patch of this repository shows for certain, however few rounds there are."""


def problems(status: int, result: Result | None) -> list[str]:
    """What is wrong with a run that ended with ``status`` and left ``result``.

    Nothing is, if it ran with KVM and ended with 0, no round is invalid, all contents are right, and the
    patch was seen where it shows for certain.
    """
    wrong = [f"exit status {status}"] if status else []
    if result is None:
        return [*wrong, "no verdict.json"]
    if result.accelerator != ACCELERATOR:
        wrong.append(f"accelerator {result.accelerator}")
    cells = [problem for cell in result.cells for problem in _cell_problems(cell)]
    return [*wrong, *([] if result.cells else ["no cell"]), *cells]


def _cell_problems(cell: CellResult) -> Iterator[str]:
    for item in cell.rounds:
        if (item.outcome, item.correctness) != (Outcome.MEASURED, Correctness.PASS):
            seen = f"{item.outcome}, contents {item.correctness}: {item.reason or 'no reason'}"
            yield f"{cell.id} {item.kernel} round {item.round}: {seen}"
    if (cell.cell.test, cell.cell.mmu) == TELLING_CELL and not _tells(cell):
        yield f"{cell.id}: {cell.status}, and not fewer flushes on {TELLING_PATH}: {cell.reason}"


def _tells(cell: CellResult) -> bool:
    figures = [one for candidate in cell.candidates.values() for one in candidate.figures]
    changes = {one.change for one in figures if one.name == TELLING_PATH}
    return cell.status is Status.FEWER and changes == {Change.FEWER}
