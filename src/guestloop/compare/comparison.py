# SPDX-License-Identifier: GPL-2.0-or-later
"""A statement and what was judged about it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from guestloop.compare.statements import Statement, Subject, Weight
from guestloop.ground.words import plural
from guestloop.stats.judge import EQUIVALENCE_ERROR, MOST_ROUNDS, Change, Judgement

SMALL, LARGE = 0.1, 100.0
"""Rates between these have three decimals."""


@dataclass(frozen=True)
class Comparison:
    """One thing that was counted on the reference and on a candidate.

    ``calibrated``: how widely rounds scatter was known before the run, from good kernels. ``per_work`` are
    the same counts for the same work of the guest; None where no work was recorded. ``absent``: which of the
    two kernels has no such path.
    """

    statement: Statement
    judgement: Judgement
    calibrated: bool = False
    per_work: tuple[float | None, float | None] = (None, None)
    absent: tuple[bool, bool] = (False, False)

    @property
    def name(self) -> str:
        return self.statement.name

    @property
    def change(self) -> Change:
        return self.judgement.change

    @property
    def decides(self) -> bool:
        """Its change makes the status of the cell."""
        return self.statement.weight is not Weight.SHOWN

    @property
    def is_open(self) -> bool:
        """It is not settled, and has to be. A cost that is no flush is a control: only its rise decides."""
        return self.decides and self.change is Change.OPEN and self.statement.subject is not Subject.COST

    def render(self) -> str:
        """``async_page_ready 0.423 -> 0.003 per page-ready event``."""
        before, after = (self.render_rate(rate) for rate in self.judgement.rates)
        unit = self.statement.unit
        per = f"of {unit}s" if self._is_share else f"per {unit}"
        return f"{self.name} {before} -> {after} {per}"

    def render_rate(self, rate: float) -> str:
        """A rate of this statement for people: a share in per cent."""
        return f"{100 * rate:.1f} %" if self._is_share else render_rate(rate)

    def render_open(self) -> str:
        """What is open, and what would settle it."""
        needed = self.judgement.rounds_needed
        rounds = plural(needed, "round") if needed else f"more than {MOST_ROUNDS} rounds"
        return f"{self.render()}: {rounds} would settle it"

    def render_excluded(self) -> str:
        """Which increase is excluded, at the limit that was tested; of small counts in counts of a round."""
        reference, most = self.statement.reference, max(0.0, self.judgement.increase[1])
        if most < reference.rate:
            size = f"{100 * most / reference.rate:.0f} %"
        else:
            size = f"{math.ceil(most * reference.exposure / len(reference.counts))} in a round"
        sure = f"({100 * (1 - EQUIVALENCE_ERROR):.0f} %)"
        return f"{self.name}: an increase by more than {size} is excluded {sure}"

    @property
    def _is_share(self) -> bool:
        return self.statement.subject is Subject.SHARE


def render_rate(rate: float) -> str:
    """``0.423``, ``0.0031``, ``305.5``, ``0``."""
    if not rate:
        return "0"
    if rate < SMALL:
        return f"{rate:.2g}"
    return f"{rate:.3f}" if rate < LARGE else f"{rate:.1f}"
