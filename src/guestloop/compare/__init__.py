# SPDX-License-Identifier: GPL-2.0-or-later
"""From rounds to a verdict (pure): ``compare(plan, rounds)``.

``statuses`` has every word that a verdict can say.

* What can be stated: ``proof`` says what rounds prove, ``drivers`` what a count is divided by,
  ``statements`` what is compared in a cell.
* How it is judged (guestloop.stats): ``calibration`` is what is known of the scatter of rounds,
  ``error_budget`` which error each statement may have, ``load`` which rounds are not compared.
* What it comes to: ``kinds`` says what is compared, ``correctness`` what went wrong, ``claims`` what the
  comparisons of a cell mean. ``candidate`` joins these for one candidate in one cell, ``cell_verdict`` for
  all of a cell, ``verdict`` for the run, and ``answer`` puts that in one line.

``differences`` are between the kernels themselves; ``expectations`` are what their series are for.
"""

from __future__ import annotations

from guestloop.compare.calibration import Calibration, learn
from guestloop.compare.candidate import CandidateVerdict
from guestloop.compare.cell_verdict import CellVerdict
from guestloop.compare.comparison import Comparison, render_rate
from guestloop.compare.differences import Difference, Realm
from guestloop.compare.expectations import ExpectationVerdict, Met, soonest_shown
from guestloop.compare.kernel_state import KernelState, KernelVerdict
from guestloop.compare.kinds import Kind, kind_of
from guestloop.compare.statements import Subject, Weight
from guestloop.compare.statuses import Overall, Status
from guestloop.compare.verdict import Verdict, compare
from guestloop.stats.judge import Change, Judgement, judge
from guestloop.stats.samples import Sample

__all__ = [
    "Calibration",
    "CandidateVerdict",
    "CellVerdict",
    "Change",
    "Comparison",
    "Difference",
    "ExpectationVerdict",
    "Judgement",
    "KernelState",
    "KernelVerdict",
    "Kind",
    "Met",
    "Overall",
    "Realm",
    "Sample",
    "Status",
    "Subject",
    "Verdict",
    "Weight",
    "compare",
    "judge",
    "kind_of",
    "learn",
    "render_rate",
    "soonest_shown",
]
