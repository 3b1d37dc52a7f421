# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told of each kernel: what changed from the one before it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guestloop.compare import Change, Status, Verdict, Weight, render_rate
from guestloop.compare.statements import TOTAL
from guestloop.ground.words import plural
from guestloop.history.chart import factor, times
from guestloop.history.neighbours import Neighbours
from guestloop.history.trends import Step, Trend
from guestloop.report.page.badges import Badge, Tally, tallies
from guestloop.results.records import Correctness

LOUD = (Status.BROKEN, Status.MORE, Status.UNEXPLAINED, Status.FIXED)
"""Cells of these are told with their reasons, in this order."""

MOST_CELLS = 4
MOST_STEPS = 12
LONGEST_REASON = 200


@dataclass(frozen=True)
class Told:
    """A path that changed in a workload: ``figures`` has both rates, the ratio and its limits."""

    kind: Change
    sign: str
    workload: str
    path: str
    figures: str


@dataclass(frozen=True)
class Loud:
    """A cell of which the verdict itself has to be read."""

    badge: Badge
    cell: str
    reason: str


@dataclass(frozen=True)
class ChangeView:
    """From one kernel to the next; ``contents`` says whether memory was right. ``more_*`` are not told."""

    before: str
    after: str
    tallies: tuple[Tally, ...]
    contents: str
    late: tuple[str, ...]
    loud: tuple[Loud, ...]
    more_loud: int
    told: tuple[Told, ...]
    more_told: int


def changes_of(neighbours: Sequence[Neighbours], trends: Sequence[Trend]) -> tuple[ChangeView, ...]:
    """The youngest kernel first."""
    return tuple(_change(one, trends) for one in reversed(neighbours))


def _change(one: Neighbours, trends: Sequence[Trend]) -> ChangeView:
    after = one.after.label
    steps = [
        (trend, step)
        for trend in trends
        for step in trend.steps
        if step.changed and step.after.label == after
    ]
    steps.sort(key=lambda pair: (pair[0].path != TOTAL, pair[0].weight is not Weight.JUDGED))
    loud = list(_loud(one.verdict)) if one.verdict else []
    return ChangeView(
        one.before.label,
        after,
        tallies(cell.status for cell in one.verdict.cells) if one.verdict else (),
        _contents(one),
        one.after.late,
        tuple(loud[:MOST_CELLS]),
        max(0, len(loud) - MOST_CELLS),
        tuple(_told(trend, step, one.before.label) for trend, step in steps[:MOST_STEPS]),
        max(0, len(steps) - MOST_STEPS),
    )


def _told(trend: Trend, step: Step, before: str) -> Told:
    """Of a workload that the kernel before was not measured in, the one that is compared is named."""
    other = "" if step.before.label == before else f" (from {step.before.label})"
    workload = f"{trend.workload.test}, {trend.workload.mmu}{other}"
    sign = "▲" if step.change is Change.MORE else "▼"
    return Told(step.change, sign, workload, trend.path, _figures(trend, step))


def _figures(trend: Trend, step: Step) -> str:
    """``0.193 → 0.104 per page visited``, and the ratio with its limits."""
    judgement = step.judgement
    if judgement is None:
        return ""
    before, after = judgement.rates
    said = f"{render_rate(before)} → {render_rate(after)} per {trend.workload.unit}"
    if not before:
        return said
    low, high = (times(max(0.0, 1 + limit / before)) for limit in judgement.increase)
    return f"{said}, {factor(step)} ({low} to {high})" if after else f"{said}: at most {high}"


def _loud(verdict: Verdict) -> Iterator[Loud]:
    for status in LOUD:
        for cell in verdict.cells:
            if cell.status is status:
                reason = textwrap.shorten(cell.reason.partition("\n")[0], LONGEST_REASON, placeholder=" …")
                yield Loud(Badge(status), cell.cell.id, reason)


def _contents(one: Neighbours) -> str:
    if one.verdict is None:
        return "They have no cell in common."
    seen = [cell.correctness for cell in one.verdict.cells]
    checked = [both for both in seen if Correctness.NOT_RUN not in both.values()]
    wrong = [
        f"on {kernel.label} in {plural(count, 'cell')}"
        for kernel in (one.before, one.after)
        if (count := sum(both[kernel.label] is Correctness.FAIL for both in seen))
    ]
    if wrong:
        return f"Something was wrong {' and '.join(wrong)}, of {len(seen)}."
    return f"Contents are correct on both in {len(checked)} of {plural(len(seen), 'cell')}."
