# SPDX-License-Identifier: GPL-2.0-or-later
"""How the error that a run may make is divided among all its statements and looks.

Bonferroni's division: whatever depends on whatever else, a run in which nothing differs claims a difference
with at most FALSE_ALARMS. Half of it is for the judged statements, which are few, so that they are found
in fewer rounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from guestloop.compare.statements import Statement, Weight

FALSE_ALARMS = 0.01
"""The probability of claiming any difference in a run of kernels that do not differ."""

SHARES = {Weight.JUDGED: 0.5, Weight.OTHER: 0.5}
SHOWN = 0.01
"""Of a statement that decides nothing: the level of its interval."""


@dataclass(frozen=True)
class ErrorBudget:
    """The error of each statement by its weight."""

    alphas: dict[Weight, float]

    @classmethod
    def divided(cls, statements: Iterable[Statement], looks: int = 1) -> ErrorBudget:
        """Among these statements, each of which is judged up to ``looks`` times."""
        counted = Counter(statement.weight for statement in statements)
        alphas = {
            weight: FALSE_ALARMS * share / max(counted[weight], 1) / looks for weight, share in SHARES.items()
        }
        return cls(alphas | {Weight.SHOWN: SHOWN})

    def alpha(self, statement: Statement) -> float:
        """The error that a statement may have."""
        return self.alphas[statement.weight]
