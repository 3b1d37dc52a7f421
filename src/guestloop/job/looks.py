# SPDX-License-Identifier: GPL-2.0-or-later
"""Which cells are not settled, and are measured in the next look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guestloop.compare import Status, compare, soonest_shown
from guestloop.job.calibration import load_calibration
from guestloop.results.good_rounds import RunClass
from guestloop.results.plan import Plan
from guestloop.results.records import Round


def wanted_rounds(plan: Plan, rounds: Sequence[Round]) -> Mapping[str, int]:
    """The cells of which more rounds may say what these do not, and how many of each kernel would, in all.

    Those that are not settled, and those that may yet show what a series is declared to do.
    """
    verdict = compare(plan, rounds, calibration=load_calibration(RunClass.of(plan)))
    found: dict[str, int] = {}
    for candidate in plan.kernels.candidates:
        found |= soonest_shown(candidate, verdict.cells)
    for cell in verdict.cells:
        for one in cell.candidates.values():
            if one.status is Status.INCONCLUSIVE and one.rounds_wanted:
                found[cell.cell.id] = max(one.rounds_wanted, found.get(cell.cell.id, 0))
    return found
