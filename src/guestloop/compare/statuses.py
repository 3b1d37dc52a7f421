# SPDX-License-Identifier: GPL-2.0-or-later
"""What a verdict can say, what each word means, and the exit status that it leads to.

This is the one place in code; docs/verdict.md has the same two tables for people, and a selftest
compares them.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, StrEnum

from guestloop.ground.errors import Exit


class Effect(Enum):
    """What one status does to the exit status of a run; the value is how docs/verdict.md says it.

    In parentheses is what becomes of it in a run with the named verdict.
    """

    REGRESSION = "1"
    OPEN = "4 (3: unstable)"
    UNPROVEN = "4 (3: nothing-measured)"
    ABSENT = "none (3: nothing-measured)"
    MOVED = "4 (0: not a series)"
    PASS = "0"


class Status(StrEnum):
    """What a cell says of one candidate, the worst first.

    Two of them are no measurement: an ``invalid`` round could not prove its work, and a ``skipped``
    one could not be done here. Neither ever counts as a pass.
    """

    meaning: str
    effect: Effect

    # The defaults are there for mypy, which takes Status("same") for a call of this.
    def __new__(cls, value: str, effect: Effect = Effect.OPEN, meaning: str = "") -> Status:
        member = str.__new__(cls, value)
        member._value_, member.effect, member.meaning = value, effect, meaning
        return member

    BROKEN = (
        "broken",
        Effect.REGRESSION,
        "wrong on the candidate only: contents, a stuck vCPU, a crash, a kernel warning",
    )
    MORE = (
        "more",
        Effect.REGRESSION,
        "more flushes, faults, exits, or pages taken for idle or young, on the candidate",
    )
    UNEXPLAINED = (
        "unexplained",
        Effect.OPEN,
        "fewer flushes where one protects data, not declared by the series",
    )
    INCONCLUSIVE = "inconclusive", Effect.OPEN, "no claim can be made, for one of the reasons below"
    INVALID = "invalid", Effect.UNPROVEN, "a round is missing, or cannot prove that it did its work"
    SKIPPED = "skipped", Effect.ABSENT, "the machine or a kernel lacks what the cell needs"
    MOVED = "moved", Effect.MOVED, "flushes on one path rose, and the cost as a whole did not"
    SAME = "same", Effect.PASS, "right on both kernels, and no difference that matters was seen"
    CANNOT_DIFFER = (
        "cannot-differ",
        Effect.PASS,
        "as `same`, in a cell outside the declared reach of the candidate's series",
    )
    FEWER = "fewer", Effect.PASS, "right on both kernels, and fewer flushes on the candidate"
    FIXED = "fixed", Effect.PASS, "wrong on the reference only"

    @property
    def severity(self) -> int:
        """0 is the worst; a cell has the status of its worst candidate."""
        return list(Status).index(self)

    @property
    def measured(self) -> bool:
        """Both kernels were measured, whatever came out."""
        return self.effect not in (Effect.UNPROVEN, Effect.ABSENT)

    @property
    def regression(self) -> bool:
        return self.effect is Effect.REGRESSION

    @property
    def undecided(self) -> bool:
        return self.effect in (Effect.OPEN, Effect.UNPROVEN, Effect.MOVED)


Claim = tuple[Status, str]
"""A status and the reason for it."""


class Overall(StrEnum):
    """What a run says about all of its candidates; the first whose meaning holds."""

    meaning: str
    exit_status: Exit

    # The defaults are there for mypy, as in Status.
    def __new__(cls, value: str, exit_status: Exit = Exit.LAB, meaning: str = "") -> Overall:
        member = str.__new__(cls, value)
        member._value_, member.exit_status, member.meaning = value, exit_status, meaning
        return member

    REGRESSION = (
        "regression",
        Exit.REGRESSION,
        "a candidate is `broken` or `more` in a cell, or only it does not compile or boot",
    )
    UNSTABLE = (
        "unstable",
        Exit.LAB,
        "all kernels are the same build, and something went wrong on one of them",
    )
    NOTHING_MEASURED = (
        "nothing-measured",
        Exit.LAB,
        "the reference does not boot, or all is `invalid` or `skipped` in every cell",
    )
    INCONCLUSIVE = (
        "inconclusive",
        Exit.INCONCLUSIVE,
        "some candidate is `inconclusive`, `invalid` or not tried, or an L1 complained late",
    )
    NO_REGRESSION = "no-regression", Exit.OK, "something was measured, and nothing is open"


def judge_overall(
    statuses: Collection[Status],
    *,
    undecided: bool = False,
    reference_boots: bool = True,
    failing: bool = False,
    untried: bool = False,
    unstable: bool = False,
    late: bool = False,
) -> Overall:
    """The verdict on a run from the statuses of all its cells for all its candidates.

    ``undecided``: some cell leaves something open for some candidate.
    ``reference_boots``: it did in some round. ``failing``: some candidate does not compile or boot, which is
    another build than a reference that does. ``untried``: some candidate was not measured, because it could
    not be made. ``unstable``: every candidate is the same build as the reference, and something went wrong.
    ``late``: an L1 complained after its last round, so that no round can be held responsible.
    """
    if failing or any(status.regression for status in statuses):
        return Overall.REGRESSION
    if unstable:
        return Overall.UNSTABLE
    if not reference_boots or not any(status.measured for status in statuses):
        return Overall.NOTHING_MEASURED
    if late or untried or undecided:
        return Overall.INCONCLUSIVE
    return Overall.NO_REGRESSION
