# SPDX-License-Identifier: GPL-2.0-or-later
"""Progress output for the user, on stderr: steps with their expected time.

A step shows what runs, how far it is and how long it will take. On a terminal the line is redrawn.
Elsewhere (CI) a line is printed when the step starts, every ``HEARTBEAT_S`` seconds, and when it ends.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

HEARTBEAT_S = 15.0
REDRAW_S = 1.0

_print_lock = threading.Lock()
_show: Callable[[str], None] | None = None


def say(line: str) -> None:
    """Print one line for the user."""
    if _show:
        _show(line)
        return
    with _print_lock:
        print(line, file=sys.stderr, flush=True)


@contextmanager
def shown_by(show: Callable[[str], None]) -> Iterator[None]:
    """While the body runs something else has the terminal, and shows the lines for the user."""
    global _show
    _show = show
    try:
        yield
    finally:
        _show = None


def can_draw(stream: TextIO) -> bool:
    """Is this a terminal that knows the usual control sequences?"""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def can_colour(stream: TextIO) -> bool:
    """As ``can_draw``, unless the user wants no colours (no-color.org)."""
    return can_draw(stream) and not os.environ.get("NO_COLOR")


def duration(seconds: float) -> str:
    """Render seconds for people: ``4.2 s``, ``3 min 05 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _columns() -> int:
    """How many characters fit on a line of the terminal; what wraps around could not be drawn over."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns - 1
    except (OSError, ValueError):
        return 79


class Step:
    """A piece of work in progress. ``update`` sets how far it is."""

    def __init__(self, what: str, expect_s: float | None) -> None:
        self.what, self.expect_s = what, expect_s
        self.started = time.monotonic()
        self._status, self._fraction = "", 0.0
        self._done = threading.Event()
        self._tty = can_draw(sys.stderr) and _show is None

    @property
    def elapsed(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self.started

    def update(self, status: str, fraction: float = 0.0) -> None:
        """Set the status. With a ``fraction`` (0..1) the remaining time is estimated from it."""
        self._status, self._fraction = status, fraction

    def _line(self) -> str:
        left = ""
        if self._fraction > 0.05:
            left = f", about {duration(self.elapsed * (1 / self._fraction - 1))} left"
        elif self.expect_s:
            left = f", expected {duration(self.expect_s)}"
        status = f" {self._status}" if self._status else ""
        return f"    {self.what}:{status} [{duration(self.elapsed)}{left}]"

    def _beat(self) -> None:
        while not self._done.wait(REDRAW_S if self._tty else HEARTBEAT_S):
            if self._tty:
                with _print_lock:
                    print(f"\r\033[K{self._line()[: _columns()]}", end="", file=sys.stderr, flush=True)
            else:
                say(self._line())

    def _clear(self) -> None:
        if self._tty:
            with _print_lock:
                print("\r\033[K", end="", file=sys.stderr, flush=True)


@contextmanager
def step(what: str, *, expect_s: float | None = None) -> Iterator[Step]:
    """Show ``what`` while the body runs, and how long it took at the end."""
    current = Step(what, expect_s)
    expected = f" (expected {duration(expect_s)})" if expect_s else ""
    say(f"==> {what}{expected}")
    beat = threading.Thread(target=current._beat, name="heartbeat", daemon=True)
    beat.start()
    outcome = "failed"
    try:
        yield current
        outcome = "done"
    finally:
        current._done.set()
        beat.join()
        current._clear()
        status = f": {current._status}" if current._status else ""
        say(f"    {what}: {outcome} in {duration(current.elapsed)}{status}")
