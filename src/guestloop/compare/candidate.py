# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rounds of one cell say of one candidate, compared with the reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from guestloop.compare.figures import (
    PathFigure,
    PerWork,
    count_all,
    decide,
    figures_by_path,
    figures_in_all,
    relate_to_work,
)
from guestloop.compare.judge import JUDGED, Change, Judgement
from guestloop.compare.proof import CellRounds
from guestloop.compare.rates import Rate, rates_of
from guestloop.compare.statuses import Status
from guestloop.results.findings import Bearing
from guestloop.results.plan import PlannedKernel, Reach
from guestloop.results.records import Correctness, Round

Claim = tuple[Status, str]
"""A status and the reason for it."""


@dataclass(frozen=True)
class CandidateVerdict:
    """The verdict on one candidate in one cell.

    ``decisive`` is the path that ``comparison`` in verdict.json describes: the one that made the
    status, else the busiest judged one. ``total`` counts all flush requests, ``per_work`` all of them for
    a ``work_unit``. ``decisive``, ``total``, ``paths`` and ``rates`` are empty when the cell was not measured
    on both kernels.
    """

    status: Status
    reason: str
    event: str = ""
    decisive: PathFigure | None = None
    total: Judgement | None = None
    paths: tuple[PathFigure, ...] = ()
    rates: tuple[Rate, ...] = ()
    work_unit: str = ""
    per_work: PerWork = (None, None)

    @property
    def metric(self) -> str:
        """What ``decisive`` counts, in words."""
        return f"{self.decisive.path} flush requests per {self.event}" if self.decisive else ""


def judge_candidate(cell: CellRounds, candidate: PlannedKernel) -> CandidateVerdict:
    """Compare a candidate with the reference.

    What is wrong decides, even in a round that proves nothing: nothing else makes up for it.
    """
    wrong = _what_is_wrong(cell, candidate)
    if unusable := cell.why_unusable(candidate):
        status, reason = wrong or unusable
        return CandidateVerdict(status, reason)
    before, after = cell.on(cell.kernels.reference), cell.on(candidate)
    paths = figures_by_path(before, after)
    decisive, change = decide(paths)
    status, reason = wrong or _what_changed(cell, candidate, decisive, change)
    return CandidateVerdict(
        status,
        reason,
        event=before[0].event,
        decisive=decisive,
        total=figures_in_all(before, after),
        paths=paths,
        rates=rates_of(before, after),
        work_unit=before[0].work_unit,
        per_work=relate_to_work(before, after, count_all),
    )


def _what_is_wrong(cell: CellRounds, candidate: PlannedKernel) -> Claim | None:
    """The claim that follows from what went wrong on the two kernels; None when nothing did."""
    reference = cell.kernels.reference
    before, after = (cell.correctness[kernel.name] for kernel in (reference, candidate))
    if Correctness.FAIL not in (before, after):
        return None
    if twins := _unreliable_build(cell, candidate):
        return Status.INCONCLUSIVE, _no_claim(cell.on(*twins))
    a, b, finding = reference.name, candidate.name, _first_finding(cell.on(reference, candidate))
    if before is after:
        return Status.INCONCLUSIVE, f"wrong on both kernels{finding}"
    if before is Correctness.PASS:
        return Status.BROKEN, f"wrong on {b}, right on {a}{finding}"
    if after is Correctness.PASS:
        return Status.FIXED, f"wrong on {a}, right on {b}{finding}"
    failed, unknown = (b, a) if after is Correctness.FAIL else (a, b)
    return Status.INCONCLUSIVE, f"wrong on {failed}, not checked in every round on {unknown}{finding}"


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


def _no_claim(rounds: Sequence[Round]) -> str:
    failed = [item for item in rounds if item.is_wrong]
    first = f"{failed[0].kernel}, round {failed[0].round}{_first_finding(failed)}"
    return (
        f"no difference can be claimed between identical kernels: failed in {len(failed)} of {len(rounds)} "
        f"rounds ({first}): the lab, or this kernel itself"
    )


def _first_finding(rounds: Sequence[Round]) -> str:
    """What the first round that found something wrong said of it, to be added to a sentence."""
    said = [line for item in rounds if item.is_wrong and (line := item.first_line(Bearing.WRONG))]
    return f": {said[0]}" if said else ""


def _what_changed(
    cell: CellRounds, candidate: PlannedKernel, decisive: PathFigure | None, change: Change
) -> Claim:
    """The claim that follows from the figures, where both kernels are right."""
    if candidate.is_same_build(cell.kernels.reference):
        return _identical(decisive, change)
    reach = candidate.reach
    covered = reach.covers(cell.cell.mmu)
    if decisive and change is not Change.SAME:
        return Status(change), _describe_change(decisive) + ("" if covered else _wrong_reach(reach))
    return _unchanged(decisive) if covered else (Status.CANNOT_DIFFER, reach.because)


def _identical(decisive: PathFigure | None, change: Change) -> Claim:
    """Nothing is declared about how a kernel differs from itself, and no difference is believed."""
    if not decisive or change is Change.SAME:
        return _unchanged(decisive)
    seen = f"{_describe_change(decisive)}, between identical kernels: no difference can be claimed"
    return Status.INCONCLUSIVE, seen


def _describe_change(decisive: PathFigure) -> str:
    gross = "" if decisive.judged else ", a gross change on a path that is not judged"
    return decisive.render() + gross


def _wrong_reach(reach: Reach) -> str:
    return f"; the declared reach of the series is wrong: it says {reach.because!r}"


def _unchanged(decisive: PathFigure | None) -> Claim:
    if decisive is None:
        return Status.SAME, "no path is judged here and none grew grossly"
    figures = decisive.figures
    if math.isfinite(figures.mde):
        return Status.SAME, f"an increase of {figures.mde:.3f} per event would have been seen"
    scatter = "rounds of one kernel scatter so widely that no increase would have been seen"
    matters = max(figures.per_event) >= JUDGED.absolute
    return Status.INCONCLUSIVE if matters else Status.SAME, f"{decisive.render()}: {scatter}"
