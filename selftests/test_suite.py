# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/test itself: what it runs for which options, how it ends, and what it says about the time."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import conftest
import pytest

from suite.__main__ import parse
from suite.covered import Covered, by_package, read_report, run_with_coverage, table, too_low
from suite.slow_steps import slow_steps
from suite.stages import FAST, NO_TESTS, Stage, browser_tests, fast_tests, guest_tests, run_stages, time_table


def exits(status: int, *, name: str = "", tests: bool = True) -> Stage:
    return Stage(name or f"exits with {status}", ("sh", "-c", f"exit {status}"), tests)


@pytest.mark.parametrize(
    ("expression", "fast", "browser", "guest"),
    [
        ("", [FAST], ["browser"], ["guest"]),
        ("not guest", [FAST], ["browser"], []),
        ("guest", [], [], ["guest"]),
        ("browser", [], ["browser"], []),
        (
            "slow or odd",
            [f"(slow or odd) and {FAST}"],
            ["(slow or odd) and browser"],
            ["(slow or odd) and guest"],
        ),
    ],
)
def test_an_expression_is_divided_between_the_stages(
    expression: str, fast: list[str], browser: list[str], guest: list[str]
) -> None:
    def selected(stages: list[Stage]) -> list[str]:
        return [stage.command[stage.command.index("-m", 3) + 1] for stage in stages]

    assert selected(fast_tests(expression)) == fast
    assert selected(browser_tests(expression)) == browser
    assert selected(guest_tests(expression)) == guest


def test_other_options_go_to_pytest_in_their_order() -> None:
    ours, options = parse(["-x", "-m", "not guest", "-k", "not payload", "selftests/test_wait.py"])
    assert ours.expression == "not guest"
    assert options == ["-x", "-k", "not payload", "selftests/test_wait.py"]
    (fast,) = fast_tests(ours.expression, options)
    assert fast.command[-4:] == tuple(options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "3"], "--count and --seed are options of --mutants"),
        (["--lab-host", "-x"], "--lab-host has no options but --out"),
        (["--lab-host", "--mutants"], "--lab-host has no options but --out"),
        (["--lab-host=all"], "argument --lab-host: invalid choice: 'all'"),
        (["--out", "results"], "--out is an option of --lab-host"),
        (["--seed", "3", "-x"], "--count and --seed are options of --mutants"),
        (["--mutants", "-x"], "--mutants has no options but --count and --seed"),
        (["--mutants", "--coverage"], "--mutants has no options but --count and --seed"),
        (["--coverage", "-m", "guest"], "--coverage is of the fast tests"),
        (["--mutants", "--count", "many"], "argument --count: invalid int value: 'many'"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("statuses", "result"),
    [
        ([], 0),
        ([0, 0], 0),
        ([0, NO_TESTS], 0),
        ([NO_TESTS, 0], 0),
        ([NO_TESTS, NO_TESTS], NO_TESTS),
        ([NO_TESTS, 1], 1),
        ([2, 0], 2),
    ],
)
def test_status_of_all_stages(statuses: list[int], result: int) -> None:
    assert run_stages(exits(status) for status in statuses) == result


def test_the_stage_that_fails_is_the_last(capsys: pytest.CaptureFixture[str]) -> None:
    stages = [exits(0, name="style"), exits(NO_TESTS, name="types", tests=False), exits(0, name="fast tests")]
    assert run_stages(stages) == NO_TESTS
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == ["==> style", "==> types", "==> types failed with status 5"]
    assert [line.split()[0] for line in lines[4:]] == ["style", "types", "in"]


def test_where_the_time_went() -> None:
    heading, style, guests, whole = time_table({"style": 0.25, "guest tests": 605.0})
    assert heading == "==> where the time went"
    assert [line.split(maxsplit=2) for line in (style, guests, whole)] == [
        ["style", "0.2", "s"],
        ["guest", "tests", "10 min 05 s"],
        ["in", "all", "10 min 05 s"],
    ]


def report(when: str, *captured: str) -> pytest.TestReport:
    sections = [(f"Captured stderr {when}", text) for text in captured]
    return pytest.TestReport("test", ("", 0, ""), {}, "passed", None, when, sections)  # type: ignore[arg-type]


def test_steps_that_guests_waited_for_are_told_once() -> None:
    build = "==> kernel unpatched\n    kernel unpatched: done in 4 min 58 s: 1203 objects\n"
    boot = "    L1: done in 4.2 s\n    series: failed in 61.0 s\n    strip: done in 0.3 s\n"
    reports = [report("setup", build), report("call", build, boot), report("teardown", build, boot)]
    assert slow_steps(reports) == [
        "kernel unpatched: done in 4 min 58 s: 1203 objects",
        "series: failed in 61.0 s",
    ]


# --- coverage --------------------------------------------------------------------------------------


def summary(executed: int, statements: int) -> dict[str, dict[str, int]]:
    return {"summary": {"covered_lines": executed, "num_statements": statements}}


REPORT = {
    "files": {
        "src/guestloop/vm/link.py": summary(60, 100),
        "src/guestloop/vm/console.py": summary(20, 20),
        "/elsewhere/guestloop/agent/ram.py": summary(79, 99),
        "src/guestloop/agent/__init__.py": summary(0, 0),
        "src/guestloop/lab/client.py": summary(8, 10),
        "src/guestloop/cli.py": summary(1, 10),
    }
}


def test_a_package_below_the_least_is_named() -> None:
    files = read_report(REPORT)
    packages = by_package(files)
    assert packages["vm"] == Covered(80, 120)
    assert packages["cli"].percent == 10
    assert too_low(packages) == ["agent", "vm", "workloads"], "a package that is not there is not covered"
    names = [line.split()[0] for line in table(files, packages)[1:]]
    assert names[:4] == ["agent/ram.py", "lab/client.py", "vm/console.py", "vm/link.py"]
    assert names[4:] == ["agent", "cli", "lab", "vm"]


def test_coverage_of_failed_tests_is_not_judged(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    failing = tmp_path / "test_failing.py"
    failing.write_text("def test_it() -> None:\n    assert False\n")
    options = [f"--rootdir={tmp_path}", f"--confcutdir={tmp_path}", "-c/dev/null"]
    assert run_with_coverage("", ["-n0", *options, str(failing)]) == 1
    assert "are wanted" not in capfd.readouterr().err


# --- where files of tests are ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "free", "flags", "chosen"),
    [
        ({}, conftest.ROOM, 0, "/dev/shm"),
        ({}, conftest.ROOM - 1, 0, None),
        ({}, conftest.ROOM, os.ST_NOEXEC, None),
        ({"TMPDIR": "/var/tmp"}, conftest.ROOM, 0, "/var/tmp"),
    ],
    ids=["room", "little room", "no programs", "told"],
)
def test_files_are_made_in_memory_where_that_is_possible(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], free: int, flags: int, chosen: str | None
) -> None:
    found = SimpleNamespace(f_bavail=free, f_frsize=1, f_flag=flags)
    monkeypatch.setattr(os, "environ", dict(given))
    monkeypatch.setattr(os, "access", lambda *_: True)
    monkeypatch.setattr(os, "statvfs", lambda _: found)
    monkeypatch.setattr(tempfile, "tempdir", "asked for before")
    conftest.make_files_in_memory()
    assert os.environ.get("TMPDIR") == chosen
    assert (tempfile.tempdir is None) == (chosen == "/dev/shm")


# --- what workers say ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "outcome", "duration", "sent"),
    [
        ("setup", "passed", 0.001, False),
        ("teardown", "passed", 0.001, False),
        ("setup", "passed", 0.1, True),
        ("setup", "failed", 0.001, True),
        ("setup", "skipped", 0.001, True),
        ("call", "passed", 0.001, True),
    ],
)
def test_a_worker_sends_what_a_summary_shows(when: str, outcome: str, duration: float, sent: bool) -> None:
    seen: list[str] = []
    send = conftest.without_what_nobody_reads(lambda name, **_: seen.append(name))
    send("logstart", nodeid="test_it")
    send("testreport", data={"when": when, "outcome": outcome, "duration": duration})
    send("logfinish", nodeid="test_it")
    send("runtest_protocol_complete", item_index=0)
    assert seen == ["testreport"] * sent + ["runtest_protocol_complete"]
