# SPDX-License-Identifier: GPL-2.0-or-later
"""Progress: what runs, for how long, how it ended; on a terminal one line that is redrawn."""

from __future__ import annotations

import re

import pytest

from guestloop.ground import log
from guestloop.ground.wait import wait_for


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (4.24, "4.2 s"), (60, "1 min 00 s"), (185.4, "3 min 05 s")]
)
def test_duration(seconds: float, text: str) -> None:
    assert log.duration(seconds) == text


def test_a_step_says_that_it_begins_and_how_long_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    with log.step("building", expect_s=125) as step:
        step.update("file 3 of 3")
    captured = capsys.readouterr()
    first, last = captured.err.splitlines()
    assert first == "==> building (expected 2 min 05 s)"
    assert re.fullmatch(r"    building: done in 0\.\d s: file 3 of 3", last)
    assert captured.out == ""


def test_a_step_that_breaks_says_failed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), log.step("building"):
        raise KeyboardInterrupt
    assert re.search(r"^    building: failed in \d\.\d s$", capsys.readouterr().err, re.MULTILINE)


def test_heartbeat_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "HEARTBEAT_S", 0.02)
    seen = ""

    def beat(pattern: str) -> re.Match[str]:
        def look() -> re.Match[str] | None:
            nonlocal seen
            seen += capsys.readouterr().err
            return re.search(pattern, seen)

        return wait_for(f"a line like {pattern}", look, 5, interval=0.01, last_seen=lambda: seen)

    with log.step("building", expect_s=60) as step:
        beat(r"    building: \[0\.\d s, expected 1 min 00 s\]\n")
        step.update("half", fraction=0.5)
        beat(r"    building: half \[\d\.\d s, about \d\.\d s left\]\n")
    assert "\r" not in seen and "\033" not in seen


def test_a_terminal_is_redrawn_and_left_clean(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "REDRAW_S", 0.01)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    drawn = ""

    def look() -> bool | None:
        nonlocal drawn
        drawn += capsys.readouterr().err
        return True if drawn.count("\r\033[K    building:") > 1 else None

    with log.step("building"):
        wait_for("two redraws", look, 5, interval=0.01)
    assert drawn.count("\n") == 1, "only the first line ends while the step runs"
    rest = capsys.readouterr().err
    assert "\r\033[K    building: done in" in rest and rest.endswith("\n")
