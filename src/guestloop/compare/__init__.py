# SPDX-License-Identifier: GPL-2.0-or-later
"""From rounds to a verdict (pure): ``compare(plan, rounds)``.

``statuses`` has every word that a verdict can say. ``judge`` decides about two samples of counts;
``proof`` says what rounds prove, ``figures`` which path decides, ``rates`` what else was counted.
``candidate`` joins these for one candidate in one cell, ``cell_verdict`` for all of a cell,
``verdict`` for the run, and ``answer`` puts that in one line. ``differences`` are between the kernels
themselves; ``expectations`` are what their series are for.
"""

from __future__ import annotations

from guestloop.compare.candidate import CandidateVerdict
from guestloop.compare.cell_verdict import CellVerdict
from guestloop.compare.differences import Difference, Realm
from guestloop.compare.expectations import ExpectationVerdict, Met
from guestloop.compare.figures import PathFigure
from guestloop.compare.judge import Change, Judgement, Sample, judge
from guestloop.compare.kernel_state import KernelState, KernelVerdict
from guestloop.compare.rates import Rate
from guestloop.compare.statuses import Overall, Status
from guestloop.compare.verdict import Verdict, compare

__all__ = [
    "CandidateVerdict",
    "CellVerdict",
    "Change",
    "Difference",
    "ExpectationVerdict",
    "Judgement",
    "KernelState",
    "KernelVerdict",
    "Met",
    "Overall",
    "PathFigure",
    "Rate",
    "Realm",
    "Sample",
    "Status",
    "Verdict",
    "compare",
    "judge",
]
