"""Deadlines: the only place that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from guestloop.errors import TimeoutError_

T = TypeVar("T")


class Deadline:
    """A point in time by which something must have happened (monotonic clock, seconds)."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    @property
    def passed(self) -> bool:
        return self.left == 0.0


def wait_for(
    what: str,
    probe: Callable[[], T | None],
    seconds: float,
    *,
    interval: float = 0.05,
    last_seen: Callable[[], str] = lambda: "nothing",
    hint: str = "",
) -> T:
    """Call ``probe`` until it gives something other than None, and return that.

    ``probe`` raises to give up early (a panic, a dead process). Raises TimeoutError_ after
    ``seconds``, with ``what`` was awaited and what ``last_seen`` says.
    """
    deadline = Deadline(seconds)
    while True:
        value = probe()
        if value is not None:
            return value
        if deadline.passed:
            waited = f"waited {round(seconds, 1):g} s for {what}"
            raise TimeoutError_(f"{waited}; last seen: {last_seen()}", hint=hint)
        time.sleep(min(interval, deadline.left))
