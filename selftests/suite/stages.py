# SPDX-License-Identifier: GPL-2.0-or-later
"""The stages of scripts/test, one command each, and the time that each took."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from guestloop.ground.log import duration, say

WORKERS = 2  # for the fast tests only: tests with guests need the machine for themselves
GUEST, NOT_GUEST, BROWSER = "guest", "not guest", "browser"
FAST = f"{NOT_GUEST} and not {BROWSER}"
# Each worker begins with half of the files; who is done first takes over from the other.
SPREAD = ("-n", str(WORKERS), "--dist", "worksteal")
SLOWEST = "--durations=15"
NO_TESTS = 5  # pytest's exit status when it selected none
INTERRUPTED = 130


@dataclass(frozen=True)
class Stage:
    """A command of scripts/test. ``tests``: a run of pytest, which may select no test at all."""

    name: str
    command: tuple[str, ...]
    tests: bool = False

    def failed(self, status: int) -> bool:
        """Whether this exit status ends scripts/test."""
        return status != 0 and not (self.tests and status == NO_TESTS)


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name, *arguments)


def checks() -> list[Stage]:
    """Style and types."""
    return [
        Stage("style", _module("ruff", "check", ".")),
        Stage("format", _module("ruff", "format", "--check", ".")),
        Stage("types", _module("mypy")),
    ]


def fast_tests(expression: str = "", options: Sequence[str] = ()) -> list[Stage]:
    """Tests without guests, on two CPUs; none when ``expression`` asks for guests or a browser alone."""
    if expression in (GUEST, BROWSER):
        return []
    command = _module("pytest", "-m", _both(expression, FAST), *SPREAD, *options)
    return [Stage("fast tests", command, tests=True)]


def browser_tests(expression: str = "", options: Sequence[str] = ()) -> list[Stage]:
    """Tests that look at pages in a browser, on two CPUs; none when ``expression`` asks for guests alone."""
    if expression == GUEST:
        return []
    command = _module("pytest", "-m", _both(expression, BROWSER), *SPREAD, *options)
    return [Stage("browser tests", command, tests=True)]


def guest_tests(expression: str = "", options: Sequence[str] = ()) -> list[Stage]:
    """Tests with real guests, one at a time; none when ``expression`` excludes guests."""
    if expression in (NOT_GUEST, BROWSER):
        return []
    command = _module("pytest", "-m", _both(expression, GUEST), SLOWEST, *options)
    return [Stage("guest tests", command, tests=True)]


def _both(expression: str, further: str) -> str:
    return f"({expression}) and {further}" if expression not in ("", further, NOT_GUEST) else further


def run_stages(stages: Iterable[Stage]) -> int:
    """Run stages until one fails, and print where the time went.

    Returns the exit status of the stage that failed, NO_TESTS when there were stages with tests and
    none of them selected any, or 0.
    """
    seconds: dict[str, float] = {}
    tests: list[int] = []
    try:
        for stage in stages:
            say(f"==> {stage.name}")
            started = time.monotonic()
            try:
                status = subprocess.run(stage.command, check=False).returncode
            finally:
                seconds[stage.name] = time.monotonic() - started
            if stage.failed(status):
                say(f"==> {stage.name} failed with status {status}")
                return status
            if stage.tests:
                tests.append(status)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        say("\n".join(time_table(seconds)))
    return NO_TESTS if tests and set(tests) == {NO_TESTS} else 0


def time_table(seconds: Mapping[str, float]) -> list[str]:
    """Where the time went: a line for each stage, and one for their sum."""
    rows = {**seconds, "in all": sum(seconds.values())}
    lines = [f"    {name:13} {duration(took):>12}" for name, took in rows.items()]
    return ["==> where the time went", *lines]
