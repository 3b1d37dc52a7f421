# SPDX-License-Identifier: GPL-2.0-or-later
"""Deadlines: the only place that sleeps.

Seconds here are those of an idle machine of usual speed. On one that is slower, or busy with other work, the
clock of this process is slowed down by its *pace*: a pace of 3 makes each deadline last three times as long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from guestloop.ground.errors import TimedOut

T = TypeVar("T")

STEP_S = 1.0


class PacedClock:
    """Monotonic seconds that pass more slowly the slower this machine is at the moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pace = 1.0
        self.slowdown = 1.0
        """How many times longer work takes because L0 runs something else, in the mean of some seconds.

        The pace is for deadlines: it counts how slow the machine itself is, and it forgets a busy moment
        slowly. This is for CPU time: L1's clock goes on while L0 has taken its CPUs away, so that what L1
        counts is this many times what was really given.
        """
        self._reached, self._since = 0.0, time.monotonic()

    @property
    def pace(self) -> float:
        """How many seconds of the monotonic clock make one of this clock, at least 1."""
        return self._pace

    @pace.setter
    def pace(self, pace: float) -> None:
        with self._lock:
            now = time.monotonic()
            self._reached += (now - self._since) / self._pace
            self._since, self._pace = now, max(1.0, pace)

    def now(self) -> float:
        """Seconds since this clock was made."""
        with self._lock:
            return self._reached + (time.monotonic() - self._since) / self._pace


clock = PacedClock()
"""The clock of this process. The lab measures the pace and reports it to the agents (lab/pace.py)."""


class Deadline:
    """A point in time by which something must have happened, in seconds of ``clock``."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = clock.now() + seconds

    @property
    def left(self) -> float:
        """Seconds of the monotonic clock that are left at the present pace, never negative."""
        return max(0.0, (self._end - clock.now()) * clock.pace)

    @property
    def step(self) -> float:
        """Seconds to wait before looking again: a pace that changes must not be missed for long."""
        return min(STEP_S, self.left)

    @property
    def passed(self) -> bool:
        return clock.now() >= self._end


def wait_for(
    what: str,
    probe: Callable[[], T | None],
    seconds: float,
    *,
    interval: float = 0.05,
    last_seen: Callable[[], str] = lambda: "nothing",
    progress: Callable[[], object] | None = None,
) -> T:
    """Call ``probe`` until it returns something other than None, and return that.

    ``probe`` raises to give up early (a panic, a dead process). Raises TimedOut after
    ``seconds``, with ``what`` was awaited and what ``last_seen`` says. With ``progress`` the deadline
    starts anew whenever that returns something else than before: a machine that is slow but at work is
    waited for, however long the whole takes.
    """
    deadline = Deadline(seconds)
    reached = progress() if progress else None
    while True:
        value = probe()
        if value is not None:
            return value
        if progress and (now := progress()) != reached:
            reached, deadline = now, Deadline(seconds)
        if deadline.passed:
            waited = f"waited {round(seconds, 1):g} s for {what}"
            without = " without any progress" if progress else ""
            raise TimedOut(f"{waited}{without}; last seen: {last_seen()}")
        time.sleep(min(interval, deadline.left))


async def comes_true(probe: Callable[[], bool], turns: int, interval: float = 0.05) -> bool:
    """For coroutines: whether ``probe`` is true within this many turns of the event loop.

    Turns are counted and not seconds: in each the loop takes in what other processes have sent, also when it
    was kept from running for longer than all of them should last.
    """
    import asyncio  # nothing else here needs it, and it takes its time to load

    for _ in range(turns):
        if probe():
            return True
        await asyncio.sleep(interval)
    return probe()
