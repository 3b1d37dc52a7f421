# SPDX-License-Identifier: GPL-2.0-or-later
"""How a status looks: a sign, its own word, and a class that gives it a colour and a border.

What is wrong is told apart without colour too: only ``broken`` and ``more`` are white on dark.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from guestloop.compare import KernelState, Overall, Status
from guestloop.report.notes import LATE, UNMET

SIGNS: Mapping[str, str] = {
    Status.BROKEN: "✕",
    Status.MORE: "▲",
    Status.UNEXPLAINED: "!",
    Status.INCONCLUSIVE: "?",
    Status.INVALID: "∅",
    Status.SKIPPED: "\N{EN DASH}",
    Status.MOVED: "⇄",
    Status.SAME: "=",
    Status.CANNOT_DIFFER: "≡",
    Status.FEWER: "▼",
    Status.FIXED: "✓",
    Overall.REGRESSION: "✕",
    Overall.UNSTABLE: "!",
    Overall.NOTHING_MEASURED: "∅",
    Overall.NO_REGRESSION: "✓",
    KernelState.NOT_APPLIED: "!",
    KernelState.NOT_BUILT: "✕",
    KernelState.NOT_BOOTED: "✕",
    LATE: "!",
    UNMET: "!",
}


@dataclass(frozen=True)
class Badge:
    """A status to be shown, in its own word: ``cannot-differ`` is read as ``cannot differ``."""

    status: str

    @property
    def kind(self) -> str:
        """Its class in the style sheet."""
        return self.status.replace(" ", "-")

    @property
    def word(self) -> str:
        return self.status.replace("-", " ")

    @property
    def sign(self) -> str:
        return SIGNS[self.status]


@dataclass(frozen=True)
class Tally:
    """How many times there is a status."""

    badge: Badge
    count: int
    meaning: str


def tallies(statuses: Iterable[Status]) -> tuple[Tally, ...]:
    """One for each status that is there, the worst first."""
    counts = Counter(statuses)
    return tuple(Tally(Badge(one), counts[one], one.meaning) for one in Status if counts[one])
