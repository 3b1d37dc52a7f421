# SPDX-License-Identifier: GPL-2.0-or-later
"""The clock of an L1 against that of L0, on a machine that is so busy that answers take their time."""

from __future__ import annotations

import pytest

from guestloop.vm.clock import DRIFT, SLACK_S, ClockReading, clock_error, read_clock

FIRST = ClockReading(asked_s=100.0, uptime_s=8.0, answered_s=100.5)


@pytest.mark.parametrize(
    "second",
    [
        ClockReading(200.0, 108.0, 200.1),
        ClockReading(180.0, 105.0, 230.0),  # asked long before it was answered
        ClockReading(200.0, 8.0 + 99.5 * (1 - DRIFT) - 0.1, 200.0),
    ],
)
def test_a_clock_may_have_been_read_at_any_time_between_question_and_answer(second: ClockReading) -> None:
    assert clock_error(FIRST, second) == ""


def test_the_first_answer_may_be_late_too() -> None:
    late = ClockReading(asked_s=83.0, uptime_s=8.0, answered_s=101.0)
    assert clock_error(late, ClockReading(180.0, 105.0, 180.5)) == ""


@pytest.mark.parametrize(("uptime_s", "said"), [(8.0 + 600.0, "600 s"), (8.0 + 50.0, "50 s")])
def test_a_clock_that_runs_six_times_too_fast_or_at_half_speed_is_wrong(uptime_s: float, said: str) -> None:
    error = clock_error(FIRST, ClockReading(200.0, uptime_s, 200.5))
    assert error == f"{said} have passed by it, and between 100 and 100 s by L0's"


def test_a_moment_is_too_short_to_tell() -> None:
    assert clock_error(FIRST, ClockReading(100.5, 8.0 + SLACK_S, 101.0)) == ""


def test_a_reading_has_the_times_around_it() -> None:
    reading = read_clock(lambda: 5.0)
    assert reading.uptime_s == 5.0 and reading.asked_s <= reading.answered_s
