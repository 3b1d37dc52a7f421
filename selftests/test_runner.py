# SPDX-License-Identifier: GPL-2.0-or-later
"""The process that runs a test: whatever becomes of the test's own process, there is one result."""

from __future__ import annotations

import multiprocessing
import os
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from avocado.core.nrunner.runnable import Runnable
from processes import at_most, is_running

from guestloop.ground.wait import wait_for
from guestloop.job import runner
from guestloop.job.runner import KIND, WatchedTestRunner

Run = Callable[[str], list[dict[str, Any]]]

TEST = """\
import os, signal, sys, threading
from avocado import Test


class T(Test):
    def test(self):
        {body}
"""


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """A runner has a process of its own, and sets its signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with at_most(60):
        yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """All messages of a test with this body."""

    def messages(body: str) -> list[dict[str, Any]]:
        return list(WatchedTestRunner().run(write_test(tmp_path, body)))

    return messages


def write_test(directory: Path, body: str) -> Runnable:
    file = directory / "it.py"
    file.write_text(TEST.format(body=body))
    return Runnable(KIND, f"{file}:T.test", output_dir=str(directory / "out"))


def result(messages: list[dict[str, Any]]) -> tuple[str, str | None]:
    """The result and the reason for it, from messages that have one result, at the end."""
    assert messages[0]["status"] == "started"
    assert [message["status"] for message in messages].index("finished") == len(messages) - 1
    return messages[-1]["result"], messages[-1].get("fail_reason")


def test_a_test_that_passes_and_one_that_fails(run: Run) -> None:
    messages = run("print('hello'); self.log.info('seen')")
    assert result(messages) == ("pass", None)
    assert any(message.get("type") == "stdout" and b"hello" in message["log"] for message in messages)
    assert any(message.get("type") == "log" and b"seen" in message["log"] for message in messages)
    assert result(run("self.fail('2 pages are wrong')")) == ("fail", "2 pages are wrong")


@pytest.mark.parametrize(
    ("body", "how"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9"),
        ("os._exit(3)", "exit status 3"),
        ("os._exit(0)", "exit status 0"),
        ("os.kill(os.getpid(), signal.SIGINT); self.log.info('goes on'); os._exit(4)", "exit status 4"),
    ],
)
def test_a_test_whose_process_ends_is_an_error_at_once(run: Run, body: str, how: str) -> None:
    assert result(run(body)) == ("error", f"the test's process ended ({how}) without a result")


def test_what_was_said_before_the_end_is_passed_on(run: Run) -> None:
    messages = run("[self.log.info('line %d', n) for n in range(500)]; os._exit(3)")
    lines = [message for message in messages if b"| line " in message.get("log", b"")]
    assert len(lines) == 500


def test_a_file_that_cannot_be_loaded_is_an_error(run: Run) -> None:
    assert result(run("pass\nimport nowhere")) == ("error", "No module named 'nowhere'")


def test_a_test_that_does_not_end_after_its_result_is_killed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "ENDING_S", 0.1)
    assert result(run("threading.Thread(target=signal.sigwait, args=([signal.SIGUSR1],)).start()")) == (
        "pass",
        None,
    )
    assert not multiprocessing.active_children()


def test_a_test_that_is_told_to_end_tears_itself_down(tmp_path: Path) -> None:
    body = "print('ready'); sys.stdout.flush(); threading.Event().wait()\n"
    body += "    def tearDown(self):\n        print('torn down')"
    seen = []
    for message in WatchedTestRunner().run(write_test(tmp_path, body)):
        seen.append(message)
        if message.get("log") == b"ready":
            os.kill(os.getpid(), signal.SIGTERM)
    assert result(seen) == ("interrupted", "Test interrupted: Timeout reached")
    assert any(message.get("log") == b"torn down" for message in seen)


def test_half_a_message_is_no_result() -> None:
    reading, writing = multiprocessing.Pipe(duplex=False)
    os.write(writing.fileno(), struct.pack("!i", 100) + b"x")
    writing.close()
    assert list(runner._relay(reading)) == []


def test_a_test_ends_when_its_runner_is_killed(tmp_path: Path) -> None:
    """It would keep the lab from the next round."""
    file = tmp_path / "pid"
    body = f"open({str(file)!r}, 'w').write(f'{{os.getpid()}}\\n'); threading.Event().wait()"
    runnable = write_test(tmp_path, body)
    process = multiprocessing.get_context("fork").Process(
        target=lambda: list(WatchedTestRunner().run(runnable))
    )
    process.start()
    pid = wait_for(
        "the test to run",
        lambda: int(file.read_text()) if file.exists() and file.read_text().endswith("\n") else None,
        20,
    )
    process.kill()
    process.join()
    wait_for("the test to end", lambda: None if is_running(pid) else True, 20)
