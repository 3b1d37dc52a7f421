# SPDX-License-Identifier: GPL-2.0-or-later
"""The counts of a lab host beside those of the emulator (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from guestloop.compare import Calibration, Change, Judgement, Subject, Weight, judge, render_rate
from guestloop.compare.statements import Statement, statements_of
from guestloop.report.results import CellResult, Result
from guestloop.results.records import Outcome

FEWEST = 50
"""Counts that are not judged are shown from here on: small ones scatter too widely to be compared."""

ALPHA = 0.01
"""The error that a row may have in saying that the lab host differs from the emulator."""

_ROW = "{:<32}{:>8}{:>9}{:>9}{:>9}{:>8}  {}"
_TITLE = (
    ("", "emulator", "", "lab host", "", "", ""),
    ("cell, kernel, what is counted", "count", "rate", "count", "rate", "ratio", ""),
)


def render_table(
    emulated: Sequence[Result], nested: Sequence[Result], calibration: Calibration | None = None
) -> list[str]:
    """Lines: for each cell and kernel what was counted on the emulator, and on the lab host.

    Each is divided by what causes it on its own machine, as in a verdict, and said to be fewer or more on the
    lab host where two kernels would be said to differ. ``calibration`` is that of the emulator.
    """
    beside = {cell.id: cell for result in emulated for cell in result.cells}
    lines = [_ROW.format(*words) for words in _TITLE]
    for result in nested:
        lines.append(f"profile {result.profile}, on a lab host with kernel {result.host.get('kernel', '?')}:")
        for cell in result.cells:
            lines += _rows(beside.get(cell.id), cell, result.kernels, calibration or Calibration())
    return [line.rstrip() for line in lines]


def _rows(
    emulated: CellResult | None, nested: CellResult, kernels: Iterable[str], calibration: Calibration
) -> Iterator[str]:
    for kernel in kernels:
        before, after = (_counted(cell, kernel) for cell in (emulated, nested))
        if not before or not after:
            yield f"{nested.id}, {kernel}: not measured on both"
            continue
        yield f"{nested.id}, {kernel}"
        for name, here in after.items():
            there = before.get(name)
            if there and there.unit == here.unit and _is_shown(there, here):
                yield _row(here, _judge(nested, there, here, calibration))


def _counted(cell: CellResult | None, kernel: str) -> dict[str, Statement]:
    """What can be stated about one kernel on one machine, by name; its rounds are the reference."""
    every = cell.on(kernel) if cell else ()
    rounds = [item for item in every if item.outcome is Outcome.MEASURED]
    return {one.name: one for one in statements_of(rounds, rounds)} if rounds else {}


def _is_shown(there: Statement, here: Statement) -> bool:
    return here.weight is Weight.JUDGED or there.reference.total + here.reference.total >= FEWEST


def _judge(cell: CellResult, there: Statement, here: Statement, calibration: Calibration) -> Judgement:
    before, after = there.reference, here.reference
    mean = before.total / len(before.counts)
    known = calibration.scatter(cell.id, cell.cell.test, there.key, mean)
    return judge(before, after, known.scatter, there.bounds, ALPHA)


def _row(statement: Statement, judged: Judgement) -> str:
    """``async_page_ready  930 0.423 957 0.431 x1.02 per page-ready event``."""
    before, after = judged.rates
    differs = f", {judged.change}" if judged.change in (Change.FEWER, Change.MORE) else ""
    ratio = "-" if judged.ratio is None else f"x{judged.ratio:.2f}"
    per = "of" if statement.subject is Subject.SHARE else "per"
    return _ROW.format(
        f"  {statement.name}",
        *(judged.reference.total, render_rate(before)),
        *(judged.tested.total, render_rate(after)),
        ratio,
        f"{per} {statement.unit}{differs}",
    )
