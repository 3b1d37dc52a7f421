# SPDX-License-Identifier: GPL-2.0-or-later
"""Flush requests per event: the figures of two kernels in one cell, and which of them decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from guestloop.compare.judge import GROSS, JUDGED, Change, Judgement, Sample, judge
from guestloop.counters import FLUSH_REQUESTS
from guestloop.results.records import Round


@dataclass(frozen=True)
class PathFigure:
    """Flush requests of one path per event, on the reference and on one candidate.

    ``judged``: the workload is about this path, so that any real change decides the cell; of the
    others only a gross increase does, and of an ``incidental`` one nothing.
    """

    path: str
    judged: bool
    figures: Judgement
    incidental: bool = False

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

    def figure(path: str) -> PathFigure:
        def count(item: Round) -> int:
            return item.paths.get(path, 0)

        rule = JUDGED if path in judged else GROSS
        figures = judge(_sample(reference, count), _sample(tested, count), rule)
        return PathFigure(path, path in judged, figures, path in incidental)

    found = [figure(path) for path in sorted(names)]
    return tuple(sorted(found, key=lambda item: (not item.judged, -max(item.figures.per_event))))


def figures_in_all(reference: Sequence[Round], tested: Sequence[Round]) -> Judgement:
    """All flush requests, by KVM's own counter."""

    def count(item: Round) -> int:
        return item.counters[FLUSH_REQUESTS]

    return judge(_sample(reference, count), _sample(tested, count))


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
