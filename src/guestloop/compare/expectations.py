# SPDX-License-Identifier: GPL-2.0-or-later
"""What a series was expected to do to the flushes of a path, and whether it was seen. It
decides only whether fewer flushes that protect data are explained (claims.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from guestloop.compare.cell_verdict import CellVerdict
from guestloop.compare.comparison import Comparison
from guestloop.results.plan import PlannedKernel
from guestloop.results.provenance import Expectation, Trend


class Met(StrEnum):
    """What came of an expectation."""

    MET = "met"
    NOT_MET = "not-met"
    NOT_MEASURED = "not-measured"

    @property
    def said(self) -> str:
        """How a report ends a sentence about an expectation."""
        return {Met.MET: "seen", Met.NOT_MET: "not seen", Met.NOT_MEASURED: "not measured"}[self]


@dataclass(frozen=True)
class ExpectationVerdict:
    """An expectation and what came of it.

    ``evidence`` names the first cell that shows the change, or else the one that had the most requests on the
    path, with both rates; empty if no cell measured the path.
    """

    expected: Expectation
    met: Met
    evidence: str = ""

    def __str__(self) -> str:
        """``expected fewer on async_page_ready: not seen (...)``."""
        return f"expected {self.expected}: {self.met.said}" + (f" ({self.evidence})" if self.evidence else "")


def judge_expectations(
    candidate: PlannedKernel, cells: Sequence[CellVerdict]
) -> tuple[ExpectationVerdict, ...]:
    """Each expectation of a candidate against all cells in which it was measured."""
    return tuple(_judge(candidate.name, one, cells) for one in candidate.expect)


def _judge(name: str, expected: Expectation, cells: Sequence[CellVerdict]) -> ExpectationVerdict:
    seen = [
        (cell.cell.id, figure)
        for cell in cells
        if name in cell.candidates
        for figure in cell.candidates[name].paths
        if figure.name == expected.path and _could_show(expected.change, figure)
    ]
    if not seen:
        return ExpectationVerdict(expected, Met.NOT_MEASURED)
    shown = [item for item in seen if item[1].change.value == expected.change.value]
    cell, figure = shown[0] if shown else max(seen, key=lambda item: max(item[1].judgement.rates))
    return ExpectationVerdict(expected, Met.MET if shown else Met.NOT_MET, f"{cell}: {figure.render()}")


def soonest_shown(candidate: PlannedKernel, cells: Sequence[CellVerdict]) -> dict[str, int]:
    """Cells that hint at an expected change: their ids, and how many rounds would make it certain.

    One cell for each expectation and MMU mode, that which needs the fewest rounds of each kernel; none in a
    mode where a cell shows the change already. So a change that is small in one mode is not taken for none,
    and no more rounds are measured than it takes.
    """
    found: dict[str, int] = {}
    for expected in candidate.expect:
        by_mmu: dict[str, list[CellVerdict]] = {}
        for cell in cells:
            if candidate.reach.covers(cell.cell.mmu):
                by_mmu.setdefault(cell.cell.mmu, []).append(cell)
        for own in by_mmu.values():
            if hints := _hints(candidate.name, expected, own):
                needed, name = min(hints)
                found[name] = max(needed, found.get(name, 0))
    return found


def _hints(name: str, expected: Expectation, cells: Sequence[CellVerdict]) -> list[tuple[int, str]]:
    """Rounds and ids of the cells of a mode that may show the change yet; none if one of them does."""
    figures = [
        (cell.cell.id, figure)
        for cell in cells
        if name in cell.candidates
        for figure in cell.candidates[name].paths
        if figure.name == expected.path and figure.decides
    ]
    if any(figure.change.value == expected.change.value for _, figure in figures):
        return []
    return [
        (needed, cell)
        for cell, figure in figures
        if figure.judgement.direction.value == expected.change.value
        and (needed := figure.judgement.rounds_to_certainty)
    ]


def _could_show(change: Trend, figure: Comparison) -> bool:
    """There can be no fewer requests than the none that the reference had."""
    return change is Trend.MORE or figure.judgement.rates[0] > 0
