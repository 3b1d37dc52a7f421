# SPDX-License-Identifier: GPL-2.0-or-later
"""What calibration can learn from a history: rounds of kernels that have two or more of a cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from guestloop.history.rates import gives_rate
from guestloop.history.runs import Run
from guestloop.job.calibration import store
from guestloop.results.good_rounds import GoodRound, RunClass, find_good_rounds, read_good_rounds


def good_rounds_of(runs: Iterable[Run]) -> dict[RunClass, list[GoodRound]]:
    """Those that a history has of each class of runs.

    Kernels with patches on top are not among them: nobody says that they are good.
    """
    found: dict[RunClass, list[GoodRound]] = {}
    for run in runs:
        found.setdefault(run.run_class, []).extend(_of_run(run))
    kept = {run_class: _in_groups(own) for run_class, own in found.items()}
    return {run_class: own for run_class, own in kept.items() if own}


def _of_run(run: Run) -> Iterator[GoodRound]:
    """A kernel in two settings is two builds: how its rounds scatter is a property of the machine too."""
    builds = {one.name: f"{one.sha256}@{run.setting.id}" for one in run.kernels if not one.series}
    for item in run.rounds:
        if item.kernel in builds and gives_rate(item) and not item.is_wrong:
            yield GoodRound(run.id, item, builds[item.kernel])


def _in_groups(good: Iterable[GoodRound]) -> list[GoodRound]:
    """Without those that are alone: one round shows no scatter."""
    good = list(good)
    counts = Counter((item.build, item.round.cell.id) for item in good)
    return [item for item in good if counts[item.build, item.round.cell.id] > 1]


def keep(runs: Iterable[Run], directory: Path) -> list[Path]:
    """Keep them in the files of their classes, beside what these have of other runs; returns the files.

    Raises LabError when such a file is damaged.
    """
    made = []
    for run_class, own in good_rounds_of(runs).items():
        path = find_good_rounds(run_class, [directory])
        ours = {item.sitting for item in own}
        others = [item for item in read_good_rounds(path) if item.sitting not in ours] if path else []
        made.append(store(run_class, [*others, *own], directory))
    return made
