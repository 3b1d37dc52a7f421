# SPDX-License-Identifier: GPL-2.0-or-later
"""The history as CSV: a row for each path of each cell, of each kernel in each run."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from guestloop.compare import Calibration
from guestloop.compare.proof import correctness_of
from guestloop.history.rates import count_of, gives_rate, paths_of, rate_of, weight_of
from guestloop.history.runs import KernelRecord, Run
from guestloop.report.plain import one_line
from guestloop.results.good_rounds import RunClass
from guestloop.results.records import Round

Row = Mapping[str, object]

COLUMNS = (
    "setting", "accelerator", "run", "started", "kernel", "release", "version", "sha256", "series",
    "test", "mmu", "cell", "contents", "path", "weight", "rounds", "requests", "work", "unit",
    "rate", "low", "high",
)  # fmt: skip
"""
``setting`` is one of the page; only within it can rates be compared. ``kernel`` is its name in the run,
``series`` the patches on top of it. ``requests`` and ``work`` are those of all ``rounds`` that give a rate.
``rate`` is their quotient, per ``unit``, and it passes ``low`` and ``high`` with 5 % each. All five are empty
for a path that the kernel has no function for; a cell without such a round has one row without a path.
"""

DIGITS = 16
"""Of a SHA-256: enough to tell builds apart in a table that repeats it in each row."""

_FORMULA = ("=", "+", "-", "@")
"""What a spreadsheet would compute. No number of a table begins so."""


def render_table(runs: Sequence[Run], calibration_of: Callable[[RunClass], Calibration]) -> str:
    """All of it, with a line of names first."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    paths = _paths_by_cell(runs)
    for run in runs:
        for row in _run(run, paths, calibration_of(run.run_class)):
            writer.writerow({name: _harmless(value) for name, value in row.items()})
    return text.getvalue()


def _paths_by_cell(runs: Iterable[Run]) -> dict[str, tuple[str, ...]]:
    """A path that one kernel has seen in a cell is one on which all others have seen nothing."""
    rounds: dict[str, list[Round]] = {}
    for run in runs:
        for item in run.rounds:
            rounds.setdefault(item.cell.id, []).append(item)
    return {cell: paths_of(own) for cell, own in rounds.items()}


def _run(run: Run, paths: Mapping[str, Sequence[str]], calibration: Calibration) -> Iterator[Row]:
    about = {"setting": run.setting.id, "accelerator": run.accelerator, "run": run.id, "started": run.started}
    for kernel in run.kernels:
        cells: dict[str, list[Round]] = {}
        for item in run.rounds:
            if item.kernel == kernel.name:
                cells.setdefault(item.cell.id, []).append(item)
        for cell, rounds in cells.items():
            for row in _cell(kernel, rounds, paths[cell], calibration):
                yield {**about, **_kernel(kernel), **row}


def _kernel(one: KernelRecord) -> Row:
    return {
        "kernel": one.name,
        "release": one.release,
        "version": one.version,
        "sha256": one.sha256[:DIGITS],
        "series": "; ".join(one.series),
    }


def _cell(
    kernel: KernelRecord, rounds: Sequence[Round], paths: Sequence[str], calibration: Calibration
) -> Iterator[Row]:
    cell = rounds[0].cell
    about = {
        "test": cell.test,
        "mmu": cell.mmu,
        "cell": cell.id,
        "contents": correctness_of(rounds, len(rounds)),
    }
    rated = list(filter(gives_rate, rounds))
    if not rated:
        yield {**about, "rounds": 0}
        return
    for path in paths:
        row = {**about, "path": path, "weight": weight_of(path, rated), "rounds": len(rated)}
        if path in kernel.absent_paths:
            yield row
            continue
        rate = rate_of(path, rated, calibration)
        low, high = rate.limits
        yield {
            **row,
            "requests": sum(count_of(path, item) for item in rated),
            "work": f"{rate.sample.exposure:.10g}",
            "unit": rate.unit,
            "rate": f"{rate.sample.rate:.6g}",
            "low": f"{low:.6g}",
            "high": f"{high:.6g}",
        }


def _harmless(value: object) -> object:
    """Numbers and words of guestloop as they are; a text on one line, which no spreadsheet computes."""
    text = one_line(value) if isinstance(value, str) else value
    return f"'{text}" if isinstance(text, str) and text.startswith(_FORMULA) else text
