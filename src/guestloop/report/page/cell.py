# SPDX-License-Identifier: GPL-2.0-or-later
"""All that the page shows of one cell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guestloop.compare import Status
from guestloop.counters import Stack, parse_stacks
from guestloop.ground.words import plural
from guestloop.report.page import flame, work
from guestloop.report.page.badges import Badge
from guestloop.report.page.figures import FigureRow, figure_rows
from guestloop.report.page.matrix import anchor
from guestloop.report.results import CandidateResult, CellResult, Result
from guestloop.results.records import Correctness, Outcome

QUIET = frozenset({Status.SAME, Status.CANNOT_DIFFER, Status.SKIPPED})
"""Nobody has to read about these."""

MOST_STACK_ROUNDS = 8
"""Of one kernel in one cell: their rounds are much alike, and there may be thousands of them."""

STACKS = ".stacks.txt"


@dataclass(frozen=True)
class CandidateView:
    """A candidate in the cell; ``remarks`` are what has to be known beside its reason."""

    name: str
    badge: Badge
    reason: str
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class FlameView:
    """The call stacks of one kernel, of so many rounds."""

    kernel: str
    graph: flame.Flame
    rounds: int


@dataclass(frozen=True)
class CellView:
    """A cell; ``loud`` ones are open when the page is opened. ``contents`` are by kernel.

    ``judged`` are the call paths that the workload is about.
    """

    id: str
    anchor: str
    badge: Badge
    reason: str
    loud: bool
    kernels: tuple[str, ...]
    candidates: tuple[CandidateView, ...]
    contents: tuple[str, ...]
    judged: frozenset[str]
    figures: tuple[FigureRow, ...]
    findings: tuple[work.FindingRow, ...]
    more_findings: int
    phases: tuple[work.PhaseRow, ...]
    events: tuple[work.EventRow, ...]
    rounds: tuple[work.RoundRow, ...]
    more_rounds: int
    flames: tuple[FlameView, ...]


def view(result: Result, cell: CellResult, out: Path | None, *, linked: bool = True) -> CellView:
    """Gather it; ``out`` is the result directory, where evidence is read, and linked to if that is wanted."""
    kernels = tuple(name for name in result.kernels if name in cell.correctness)
    findings, more_findings = work.findings(cell)
    rounds, more_rounds = work.round_rows(cell, kernels, out if linked else None)
    return CellView(
        id=cell.id,
        anchor=anchor(cell),
        badge=Badge(cell.status),
        reason=cell.reason,
        loud=cell.status not in QUIET,
        kernels=kernels,
        candidates=tuple(_candidate(one) for one in cell.candidates.values()),
        contents=tuple(_contents(cell, name) for name in kernels),
        judged=frozenset(path for item in cell.rounds for path in item.judged),
        figures=figure_rows(cell, kernels),
        findings=findings,
        more_findings=more_findings,
        phases=work.phase_rows(cell, kernels),
        events=work.event_rows(cell, kernels),
        rounds=rounds,
        more_rounds=more_rounds,
        flames=_flames(cell, kernels, out) if out else (),
    )


def _candidate(one: CandidateResult) -> CandidateView:
    return CandidateView(one.name, Badge(one.status), one.reason, _remarks(one))


def _remarks(one: CandidateResult) -> tuple[str, ...]:
    unlike = plural(one.unlike_load, "pair of rounds", "pairs of rounds")
    said = (
        (one.unlike_load, f"{unlike} not compared: the load of the machine changed"),
        (one.busy, "on a busier machine than was calibrated: how widely rounds scatter is assumed"),
        (one.accepted, "accepted: between such kernels a path may rise while the cost as a whole does not"),
    )
    return tuple(text for holds, text in said if holds)


def _contents(cell: CellResult, kernel: str) -> str:
    """``correct in 2 of 2 rounds``."""
    rounds = cell.on(kernel)
    seen = cell.correctness[kernel]
    right = sum(item.correctness is Correctness.PASS for item in rounds)
    word = {Correctness.PASS: "correct", Correctness.FAIL: "wrong", Correctness.NOT_RUN: "not checked"}[seen]
    if seen is Correctness.FAIL:
        wrong = sum(item.is_wrong for item in rounds)
        return f"{word} in {wrong} of {plural(len(rounds), 'round')}"
    return f"{word} in {right} of {plural(len(rounds), 'round')}" if right else word


def _flames(cell: CellResult, kernels: tuple[str, ...], out: Path) -> tuple[FlameView, ...]:
    """The graphs of all kernels at one scale, so that their widths compare."""
    read = {name: _stacks(cell, name, out) for name in kernels}
    widest = max((flame.count(stacks) / rounds for stacks, rounds in read.values() if rounds), default=0.0)
    if not widest:
        return ()
    return tuple(
        FlameView(name, flame.draw(stacks, widest * rounds), rounds)
        for name, (stacks, rounds) in read.items()
        if rounds
    )


def _stacks(cell: CellResult, kernel: str, out: Path) -> tuple[list[Stack], int]:
    """The stacks of the first measured rounds of a kernel, and of how many rounds they are."""
    found: list[Stack] = []
    count = 0
    for item in cell.on(kernel):
        files = [path for path in item.evidence if path.endswith(STACKS) and work.is_there(path, out)]
        if item.outcome is Outcome.MEASURED and files and count < MOST_STACK_ROUNDS:
            count += 1
            for path in files:
                found += parse_stacks((out / path).read_text(errors="replace"))
    return found, count
