# SPDX-License-Identifier: GPL-2.0-or-later
"""Flush requests per event: the figures of two kernels in one cell, and which of them decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from guestloop.compare.judge import GROSS, JUDGED, Change, Judgement, Sample, judge
from guestloop.counters import FLUSH_REQUESTS
from guestloop.results.records import Round

PerWork = tuple[float | None, float | None]
"""Flush requests per unit of work, on the reference and on a candidate; None where no work was recorded."""


@dataclass(frozen=True)
class PathFigure:
    """Flush requests of one path per event, on the reference and on one candidate.

    ``judged``: the workload is about this path, so that any real change decides the cell; of the
    others only a gross increase does, and of an ``incidental`` one nothing. ``per_work``: requests for the
    same work of the guest, which decides nothing. ``absent``: which of the two kernels has no such path.
    """

    path: str
    judged: bool
    figures: Judgement
    incidental: bool = False
    per_work: PerWork = (None, None)
    absent: tuple[bool, bool] = (False, False)

    def render(self) -> str:
        """``async_page_ready 0.423 -> 0.000 per event``."""
        return f"{self.path} {render_change(self.figures)} per event"


def render_change(figures: Judgement) -> str:
    """``0.423 -> 0.000``: reference and candidate, per event."""
    return f"{figures.per_event[0]:.3f} -> {figures.per_event[1]:.3f}"


def figures_by_path(reference: Sequence[Round], tested: Sequence[Round]) -> tuple[PathFigure, ...]:
    """Every path that was seen or is judged: judged paths first, then by rate, the busiest first."""
    every = [*reference, *tested]
    judged = {path for item in every for path in item.judged}
    incidental = {path for item in every for path in item.incidental}
    names = judged | {path for item in every for path in item.paths}
    lacking = [{path for item in rounds for path in item.absent_paths} for rounds in (reference, tested)]

    def figure(path: str) -> PathFigure:
        def count(item: Round) -> int:
            return item.paths.get(path, 0)

        rule = JUDGED if path in judged else GROSS
        figures = judge(_sample(reference, count), _sample(tested, count), rule)
        absent = path in lacking[0], path in lacking[1]
        per_work = relate_to_work(reference, tested, count)
        return PathFigure(path, path in judged, figures, path in incidental, per_work, absent)

    found = [figure(path) for path in sorted(names)]
    return tuple(sorted(found, key=lambda item: (not item.judged, -max(item.figures.per_event))))


def figures_in_all(reference: Sequence[Round], tested: Sequence[Round]) -> Judgement:
    """All flush requests, by KVM's own counter."""
    return judge(_sample(reference, count_all), _sample(tested, count_all))


def count_all(item: Round) -> int:
    """All flush requests of a round."""
    return item.counters[FLUSH_REQUESTS]


def relate_to_work(
    reference: Sequence[Round], tested: Sequence[Round], count: Callable[[Round], int]
) -> PerWork:
    """What was counted for a unit of the guest's work. Nothing when the rounds have different units."""
    if len({item.work_unit for item in (*reference, *tested)}) != 1:
        return None, None
    return _per_work(reference, count), _per_work(tested, count)


def _per_work(rounds: Sequence[Round], count: Callable[[Round], int]) -> float | None:
    work = sum(item.work.get(item.work_unit, 0) for item in rounds)
    return sum(map(count, rounds)) / work if work else None


def _sample(rounds: Sequence[Round], count: Callable[[Round], int]) -> Sample:
    return Sample(
        counts=tuple(count(item) for item in rounds),
        events=tuple(item.events[item.event] for item in rounds),
    )


def decide(figures: Sequence[PathFigure]) -> tuple[PathFigure | None, Change]:
    """The path that decides, and how: any ``more``, judged paths first; then any judged ``fewer``.

    When nothing changed it is the busiest judged path; None when no path is judged.
    """
    for wanted in (Change.MORE, Change.FEWER):
        for item in figures:
            telling = item.judged or (wanted is Change.MORE and not item.incidental)
            if item.figures.change is wanted and telling:
                return item, wanted
    return next((item for item in figures if item.judged), None), Change.SAME
