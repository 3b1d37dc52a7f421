# SPDX-License-Identifier: GPL-2.0-or-later
"""For tests of what happens to processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Fail when the body lasts longer: what these tests are about is that nobody waits for ever."""

    def expired(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"still at it after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def state_of(pid: int) -> str:
    """As proc_pid_stat(5) has it: R runs, S sleeps, Z is a zombie; nothing for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def is_running(pid: int) -> bool:
    """A zombie that nobody has reaped has ended too."""
    return state_of(pid) not in ("", "Z")
