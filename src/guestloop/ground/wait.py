"""Deadlines: the only place that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from guestloop.ground.errors import TimeoutError_

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
    progress: Callable[[], object] | None = None,
    hint: str = "",
) -> T:
    """Call ``probe`` until it returns something other than None, and return that.

    ``probe`` raises to give up early (a panic, a dead process). Raises TimeoutError_ after
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
            raise TimeoutError_(f"{waited}{without}; last seen: {last_seen()}", hint=hint)
        time.sleep(min(interval, deadline.left))
