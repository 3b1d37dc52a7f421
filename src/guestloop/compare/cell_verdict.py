"""The verdict on one cell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from guestloop.compare.judge import GROSS, JUDGED, Change, Judgement, Sample, judge
from guestloop.compare.rates import Rate, rates_of
from guestloop.counters import FLUSH_REQUESTS, inconsistency
from guestloop.results.cells import Cell
from guestloop.results.plan import Plan, PlannedKernel
from guestloop.results.records import Correctness, Outcome, Round


class Status(StrEnum):
    """What a cell says; only the first three of these words and ``cannot-differ`` let a run pass."""

    SAME = "same"
    FEWER = "fewer"
    FIXED = "fixed"
    CANNOT_DIFFER = "cannot-differ"
    MORE = "more"
    BROKEN = "broken"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"
    SKIPPED = "skipped"

    @property
    def measured(self) -> bool:
        """Both kernels were measured, whatever came out."""
        return self not in (Status.INVALID, Status.SKIPPED)

    @property
    def regression(self) -> bool:
        return self in (Status.BROKEN, Status.MORE)

    @property
    def undecided(self) -> bool:
        return self in (Status.INCONCLUSIVE, Status.INVALID)


@dataclass(frozen=True)
class PathFigure:
    """Flush requests of one path per event, on both kernels.

    ``judged``: the workload is about this path, so that any real change decides the cell; of the
    others only a gross increase does, and of an ``incidental`` one nothing.
    """

    path: str
    judged: bool
    figures: Judgement
    incidental: bool = False


@dataclass(frozen=True)
class CellVerdict:
    """What the rounds of one cell say.

    ``decisive`` is the path that ``comparison`` in verdict.json describes: the one that made the
    status, else the busiest judged one. ``total`` counts all flush requests. ``decisive``, ``total``,
    ``paths`` and ``rates`` are empty when the cell was not measured on both kernels.
    """

    cell: Cell
    status: Status
    reason: str
    correctness: Mapping[str, Correctness]
    rounds: tuple[Round, ...]
    event: str = ""
    decisive: PathFigure | None = None
    total: Judgement | None = None
    paths: tuple[PathFigure, ...] = ()
    rates: tuple[Rate, ...] = ()

    @property
    def metric(self) -> str:
        """What ``decisive`` counts, in words."""
        return f"{self.decisive.path} flush requests per {self.event}" if self.decisive else ""

    @property
    def evidence(self) -> tuple[str, ...]:
        """Files that the rounds kept, in order, each once."""
        return tuple(dict.fromkeys(path for item in self.rounds for path in item.evidence))


def judge_cell(plan: Plan, cell: Cell, rounds: Sequence[Round]) -> CellVerdict:
    """The verdict on one cell from all its rounds."""
    reference, tested = (kernel.name for kernel in plan.kernels)
    by_kernel = {name: [item for item in rounds if item.kernel == name] for name in (reference, tested)}
    correctness = {name: _correctness(own, plan.rounds) for name, own in by_kernel.items()}
    wrong = _wrong(reference, tested, correctness, _first_finding(rounds))
    if unusable := _unusable(plan, by_kernel):
        status, reason = wrong or unusable
        return CellVerdict(cell, status, reason, correctness, tuple(rounds))
    figures = _figures(by_kernel[reference], by_kernel[tested])
    decisive, change = _decide(figures)
    status, reason = wrong or _explain(decisive, change, _reach_of(plan, cell))
    return CellVerdict(
        cell,
        status,
        reason,
        correctness,
        tuple(rounds),
        event=rounds[0].event,
        decisive=decisive,
        total=_total(by_kernel[reference], by_kernel[tested]),
        paths=figures,
        rates=rates_of(by_kernel[reference], by_kernel[tested]),
    )


def _correctness(rounds: Sequence[Round], planned: int) -> Correctness:
    """A kernel fails when any round failed, and passes when every planned round passed with proof."""
    if any(item.correctness is Correctness.FAIL for item in rounds):
        return Correctness.FAIL
    proven = [item for item in rounds if item.outcome is Outcome.MEASURED and not _round_problem(item)]
    return Correctness.PASS if len(proven) == len(rounds) >= planned else Correctness.NOT_RUN


def _first_finding(rounds: Sequence[Round]) -> str:
    """What the first round that found something wrong said of it."""
    said = [item.reason for item in rounds if item.correctness is Correctness.FAIL and item.reason]
    return f": {said[0].splitlines()[0]}" if said else ""


def _wrong(
    reference: str, tested: str, correctness: Mapping[str, Correctness], finding: str
) -> tuple[Status, str] | None:
    """What is wrong decides, even in a round that proved no event: nothing else makes up for it."""
    before, after = correctness[reference], correctness[tested]
    if Correctness.FAIL not in (before, after):
        return None
    if before is after:
        return Status.INCONCLUSIVE, f"wrong on both kernels{finding}"
    if after is Correctness.FAIL and before is Correctness.PASS:
        return Status.BROKEN, f"wrong on {tested}, right on {reference}{finding}"
    if before is Correctness.FAIL and after is Correctness.PASS:
        return Status.FIXED, f"wrong on {reference}, right on {tested}{finding}"
    failed, unknown = (tested, reference) if after is Correctness.FAIL else (reference, tested)
    return Status.INCONCLUSIVE, f"wrong on {failed}, not checked in every round on {unknown}{finding}"


def _unusable(plan: Plan, by_kernel: Mapping[str, Sequence[Round]]) -> tuple[Status, str] | None:
    """Why the rounds cannot be compared: invalid before skipped before missing."""
    rounds = [item for own in by_kernel.values() for item in own]
    for item in rounds:
        if problem := _round_problem(item):
            return Status.INVALID, f"{item.kernel}, round {item.round}: {problem}"
    if skipped := [item for item in rounds if item.outcome is Outcome.SKIPPED]:
        return Status.SKIPPED, skipped[0].reason or "skipped without a reason"
    for name, own in by_kernel.items():
        if len(own) < plan.rounds:
            return Status.INVALID, f"{name}: {len(own)} of {plan.rounds} rounds were written"
    if len(events := sorted({item.event for item in rounds})) > 1:
        return Status.INVALID, f"rounds count different events: {', '.join(events)}"
    return None


def _round_problem(item: Round) -> str:
    """Why a round proves nothing; empty for a measured or skipped one. Trusts no outcome blindly."""
    if item.outcome is Outcome.INVALID:
        return item.reason or "invalid without a reason"
    if item.outcome is Outcome.SKIPPED:
        return ""
    if item.events.get(item.event, 0) <= 0:
        return f"no {item.event or 'event'} was counted"
    if FLUSH_REQUESTS not in item.counters:
        return f"{FLUSH_REQUESTS} was not read"
    if item.correctness is Correctness.NOT_RUN:
        return "the contents of memory were not checked"
    return inconsistency(item.paths, item.counters[FLUSH_REQUESTS])


def _figures(reference: Sequence[Round], tested: Sequence[Round]) -> tuple[PathFigure, ...]:
    """Judged paths first, then by rate, the busiest first."""
    every = [*reference, *tested]
    judged = {path for item in every for path in item.judged}
    incidental = {path for item in every for path in item.incidental}
    names = judged | {path for item in every for path in item.paths}

    def figure(path: str) -> PathFigure:
        rule = JUDGED if path in judged else GROSS
        figures = judge(_sample(reference, path), _sample(tested, path), rule)
        return PathFigure(path, path in judged, figures, path in incidental)

    found = [figure(path) for path in sorted(names)]
    return tuple(sorted(found, key=lambda item: (not item.judged, -max(item.figures.per_event))))


def _sample(rounds: Iterable[Round], path: str) -> Sample:
    pairs = [(item.paths.get(path, 0), item.events[item.event]) for item in rounds]
    return Sample(tuple(count for count, _ in pairs), tuple(events for _, events in pairs))


def _total(reference: Sequence[Round], tested: Sequence[Round]) -> Judgement:
    def sample(rounds: Sequence[Round]) -> Sample:
        return Sample(
            tuple(item.counters[FLUSH_REQUESTS] for item in rounds),
            tuple(item.events[item.event] for item in rounds),
        )

    return judge(sample(reference), sample(tested))


def _decide(figures: Sequence[PathFigure]) -> tuple[PathFigure | None, Change]:
    """Any ``more`` decides, judged paths first; then any judged ``fewer``; else nothing changed."""
    for wanted in (Change.MORE, Change.FEWER):
        for item in figures:
            telling = item.judged or (wanted is Change.MORE and not item.incidental)
            if item.figures.change is wanted and telling:
                return item, wanted
    return next((item for item in figures if item.judged), None), Change.SAME


@dataclass(frozen=True)
class _Reach:
    """May the series act in this cell? ``because`` is the kernel file's own reason."""

    covers: bool
    because: str = ""


def _reach_of(plan: Plan, cell: Cell) -> _Reach:
    """In an A/A run nothing is declared about the difference of a kernel from itself."""
    tested: PlannedKernel = plan.kernels[1]
    if is_same_kernel(plan) or tested.reach.covers(cell.mmu):
        return _Reach(True)
    return _Reach(False, tested.reach.because)


def is_same_kernel(plan: Plan) -> bool:
    """An A/A run: both kernels are the same build."""
    return plan.kernels[0].sha256 == plan.kernels[1].sha256


def _explain(decisive: PathFigure | None, change: Change, reach: _Reach) -> tuple[Status, str]:
    if change is not Change.SAME and decisive:
        what = f"{decisive.path} {render_change(decisive.figures)} per event"
        if not decisive.judged:
            what += ", a gross change on a path that is not judged"
        if not reach.covers:
            what += f"; the declared reach of the series is wrong: it says {reach.because!r}"
        return Status(change), what
    if not reach.covers:
        return Status.CANNOT_DIFFER, reach.because
    if decisive is None:
        return Status.SAME, "no path is judged here and none grew grossly"
    if math.isinf(decisive.figures.mde) and max(decisive.figures.per_event) >= JUDGED.absolute:
        scatter = "rounds of one kernel scatter so widely that no increase would have been seen"
        return Status.INCONCLUSIVE, f"{decisive.path} {render_change(decisive.figures)} per event: {scatter}"
    return Status.SAME, f"an increase of {decisive.figures.mde:.3f} per event would have been seen"


def render_change(figures: Judgement) -> str:
    """``0.423 -> 0.000``: reference and tested, per event."""
    return f"{figures.per_event[0]:.3f} -> {figures.per_event[1]:.3f}"
