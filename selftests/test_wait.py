# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting: a deadline, what for, and the last thing seen."""

from __future__ import annotations

import time

import pytest

from guestloop.ground import wait
from guestloop.ground.errors import GuestError, LabError, TimedOut
from guestloop.ground.wait import Deadline, PacedClock, wait_for


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


# --- pace ------------------------------------------------------------------------------------------


class FakeTime:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """Time, and a clock of this process that stands at 0."""
    fake = FakeTime()
    monkeypatch.setattr(wait, "time", fake)
    monkeypatch.setattr(wait, "clock", PacedClock())
    return fake


def test_at_a_pace_of_three_a_deadline_lasts_three_times_as_long(fake: FakeTime) -> None:
    wait.clock.pace = 3
    deadline = Deadline(10)
    assert deadline.left == 30 and deadline.seconds == 10
    fake.now += 29
    assert deadline.left == pytest.approx(1) and not deadline.passed
    fake.now += 1.01
    assert deadline.left == 0 and deadline.passed


def test_a_deadline_that_runs_is_stretched_and_shortened_with_the_pace(fake: FakeTime) -> None:
    deadline = Deadline(10)
    fake.now += 5
    wait.clock.pace = 4
    assert deadline.left == pytest.approx(20), "the half that is left takes four times as long"
    fake.now += 10
    wait.clock.pace = 1
    assert deadline.left == pytest.approx(2.5)


def test_no_machine_is_faster_than_usual(fake: FakeTime) -> None:
    wait.clock.pace = 0.2
    assert wait.clock.pace == 1 and Deadline(10).left == 10


def test_the_clock_never_jumps(fake: FakeTime) -> None:
    fake.now += 2
    before = wait.clock.now()
    wait.clock.pace = 5
    assert wait.clock.now() == before == 2
    fake.now += 5
    assert wait.clock.now() == pytest.approx(3)


def test_a_wait_is_stretched_and_says_the_seconds_that_it_was_given(fake: FakeTime) -> None:
    wait.clock.pace = 6
    with pytest.raises(TimedOut, match=r"^waited 10 s for rain; last seen: nothing$"):
        wait_for("rain", lambda: None, 10, interval=1)
    assert fake.now == pytest.approx(1060)


def test_a_load_that_comes_during_a_wait_counts(fake: FakeTime) -> None:
    def probe() -> bool | None:
        if fake.now >= 1009:
            wait.clock.pace = 10
        return True if fake.now > 1018 else None

    assert wait_for("what takes 18 s under load", probe, 10, interval=1)


def test_no_sleep_is_longer_than_what_is_left(fake: FakeTime) -> None:
    with pytest.raises(TimedOut):
        wait_for("rain", lambda: None, 1, interval=0.7)
    assert fake.slept == pytest.approx([0.7, 0.3])


def test_whoever_waits_in_steps_does_not_miss_a_change_of_the_pace(fake: FakeTime) -> None:
    wait.clock.pace = 50
    deadline = Deadline(600)
    assert deadline.step == wait.STEP_S and deadline.left == 30_000
    wait.clock.pace = 1
    fake.now += 599.75
    assert deadline.step == pytest.approx(0.25)


def test_a_lack_of_progress_ends_a_wait(fake: FakeTime) -> None:
    with pytest.raises(TimedOut, match=r"waited 10 s for 100 rounds without any progress; last seen: 7 of"):
        wait_for("100 rounds", lambda: None, 10, progress=lambda: 7, last_seen=lambda: "7 of 100")


def test_progress_starts_the_deadline_anew(fake: FakeTime) -> None:
    """Ten steps of 8 s each, every one within the 10 s."""

    def done() -> bool | None:
        return True if fake.now >= 1080 else None

    assert wait_for("ten steps", done, 10, interval=1, progress=lambda: (fake.now - 1000) // 8)
