# SPDX-License-Identifier: GPL-2.0-or-later
"""Does the clock of an L1 run as fast as that of L0? Every time limit in L1, and L2's clock, rest on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

SLACK_S = 10.0
DRIFT = 0.2


@dataclass(frozen=True)
class ClockReading:
    """The uptime of an L1, and the times of L0 between which it was read.

    On a busy machine much time can pass between asking and the answer.
    """

    asked_s: float
    uptime_s: float
    answered_s: float


def read_clock(read_uptime_s: Callable[[], float]) -> ClockReading:
    """Read the clock of an L1 by ``read_uptime_s``."""
    asked = time.monotonic()
    uptime = read_uptime_s()
    return ClockReading(asked, uptime, time.monotonic())


def clock_error(first: ClockReading, second: ClockReading) -> str:
    """How L1's clock went wrong between two readings; empty if it did not, or not certainly (pure)."""
    own = second.uptime_s - first.uptime_s
    least, most = second.asked_s - first.answered_s, second.answered_s - first.asked_s
    slack = max(SLACK_S, DRIFT * most)
    if least - slack <= own <= most + slack:
        return ""
    return f"{own:.0f} s have passed by it, and between {max(least, 0):.0f} and {most:.0f} s by L0's"
