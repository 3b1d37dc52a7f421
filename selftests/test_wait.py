"""Waiting: a deadline, what for, and the last thing seen."""

from __future__ import annotations

import time

import pytest

from guestloop.ground.errors import GuestError, LabError, TimedOut
from guestloop.ground.wait import Deadline, wait_for


def test_gives_what_the_probe_found() -> None:
    seen = iter([None, None, 0])
    assert wait_for("zero, which is not nothing", lambda: next(seen), 5, interval=0.001) == 0


def test_says_what_for_how_long_and_what_was_seen_last() -> None:
    seen: list[int] = []

    def probe() -> None:
        seen.append(len(seen))

    started = time.monotonic()
    with pytest.raises(TimedOut) as raised:
        wait_for("rain", probe, 0.1, interval=0.01, last_seen=lambda: f"cloud {seen[-1]}")
    assert str(raised.value) == f"waited 0.1 s for rain; last seen: cloud {seen[-1]}"
    assert isinstance(raised.value, LabError)
    assert 0.1 <= time.monotonic() - started < 2
    assert len(seen) > 2


def test_looks_once_more_when_time_is_up() -> None:
    """A probe that is slow, or a machine that is, must not lose what was there in time."""
    with pytest.raises(TimedOut):
        wait_for("nothing", lambda: None, 0.0)
    assert wait_for("something", lambda: "there", 0.0) == "there"
    late = time.monotonic() + 0.05
    assert wait_for("late", lambda: True if time.monotonic() > late else None, 0.06, interval=10)


def test_a_probe_may_give_up_early() -> None:
    def probe() -> None:
        raise GuestError("panicked")

    with pytest.raises(GuestError, match="panicked"):
        wait_for("a boot", probe, 60)


def test_deadline() -> None:
    deadline = Deadline(60)
    assert 59 < deadline.left <= 60 and not deadline.passed
    assert Deadline(0).passed and Deadline(-1).left == 0


def test_progress_keeps_a_wait_alive_and_its_lack_ends_it() -> None:
    """A hundred dirty rounds on a slow machine take as long as they take."""
    started = time.monotonic()

    def done() -> bool | None:
        return True if time.monotonic() - started > 0.3 else None

    assert wait_for("100 rounds", done, 0.1, progress=lambda: int((time.monotonic() - started) * 50))
    with pytest.raises(TimedOut, match=r"waited 0.1 s for 100 rounds without any progress; last seen:"):
        wait_for("100 rounds", lambda: None, 0.1, interval=0.01, progress=lambda: 7)
