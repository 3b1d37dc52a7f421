# SPDX-License-Identifier: GPL-2.0-or-later
"""Which cells are not settled, and are measured in the next look."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from guestloop.compare import Status, compare
from guestloop.job.calibration import load_calibration
from guestloop.results.good_rounds import RunClass
from guestloop.results.plan import Plan
from guestloop.results.records import Round


def open_cells(plan: Plan, rounds: Sequence[Round]) -> Collection[str]:
    """The ids of cells of which more rounds may say what these do not."""
    verdict = compare(plan, rounds, calibration=load_calibration(RunClass.of(plan)))
    return {
        cell.cell.id
        for cell in verdict.cells
        for one in cell.candidates.values()
        if one.status is Status.INCONCLUSIVE and one.is_open
    }
