"""From rounds to a verdict (pure): ``compare(plan, rounds)``.

``judge`` decides about two samples, ``cells`` about a cell, ``verdict`` about the run; ``rates`` tells what
decides nothing.
"""

from __future__ import annotations

from guestloop.compare.cell_verdict import CellVerdict, PathFigure, Status
from guestloop.compare.judge import Change, Judgement, Sample, judge
from guestloop.compare.rates import Rate
from guestloop.compare.verdict import Overall, Verdict, compare

__all__ = [
    "CellVerdict",
    "Change",
    "Judgement",
    "Overall",
    "PathFigure",
    "Rate",
    "Sample",
    "Status",
    "Verdict",
    "compare",
    "judge",
]
