# SPDX-License-Identifier: GPL-2.0-or-later
"""Which cells are not settled, and are measured in the next look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from guestloop.compare import Status, compare, soonest_shown
from guestloop.compare.proof import is_proven
from guestloop.job.calibration import load_calibration
from guestloop.results.good_rounds import RunClass
from guestloop.results.plan import Plan
from guestloop.results.records import Round

CHANGES = frozenset({Status.MORE, Status.FEWER, Status.MOVED, Status.UNEXPLAINED})

LEAST_FOR_A_CHANGE = 2
"""Rounds of each kernel that a change is to be seen in. One round may be unlike all others, and what was
learnt of how rounds scatter need not know of it."""


def wanted_rounds(plan: Plan, rounds: Sequence[Round]) -> Mapping[str, int]:
    """The cells of which more rounds may say what these do not, and how many of each kernel would, in all.

    Those that are not settled, those that may yet show what a series is declared to do, and those in which a
    single round of a kernel shows a change.
    """
    verdict = compare(plan, rounds, calibration=load_calibration(RunClass.of(plan)))
    found: dict[str, int] = {}
    for candidate in plan.kernels.candidates:
        found |= soonest_shown(candidate, verdict.cells)
    for cell in verdict.cells:
        for one in cell.candidates.values():
            if one.status is Status.INCONCLUSIVE and one.rounds_wanted:
                found[cell.cell.id] = max(one.rounds_wanted, found.get(cell.cell.id, 0))
            elif one.status in CHANGES and _fewest_rates(cell.rounds) < LEAST_FOR_A_CHANGE:
                found.setdefault(cell.cell.id, LEAST_FOR_A_CHANGE)
    return found


def _fewest_rates(rounds: Sequence[Round]) -> int:
    """Rounds that give a rate, of the kernel that has fewest of them."""
    numbers = Counter(item.kernel for item in rounds if is_proven(item) and not item.is_disturbed)
    return min(numbers.values(), default=0)
