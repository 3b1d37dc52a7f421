# SPDX-License-Identifier: GPL-2.0-or-later
"""The process that runs one test for Avocado: ``python -m guestloop.job.runner task-run ...``.

Avocado's runner for instrumented tests forks a process for the test and relays its messages until one of them
is the result. It looks for that result for ever, also when the process is gone (113, _monitor in
plugins/runners/avocado_instrumented.py). This one takes the end of the process for the end of the test.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Any

from avocado.core.nrunner.app import BaseRunnerApp
from avocado.core.nrunner.runnable import Runnable
from avocado.core.utils.messages import FinishedMessage, StartedMessage
from avocado.plugins.runners.avocado_instrumented import AvocadoInstrumentedTestRunner

from guestloop.ground.errors import describe_status

KIND = "guestloop"
"""The kind of runnables that this runner is for; it is the name of its entry point in pyproject.toml."""

ENDING_S = 10.0
"""Until a test's process that has sent its result is killed."""

Message = dict[str, Any]


class WatchedTestRunner(AvocadoInstrumentedTestRunner):  # type: ignore[misc]
    """Runs instrumented tests as Avocado's own runner does, and reports a test whose process died."""

    name = KIND
    description = "runs instrumented tests, and notices when the process of one dies"

    def run(self, runnable: Runnable) -> Iterator[Message]:
        """The messages of a test, the result last.

        A SIGTERM is passed on to the test, which then tears itself down. A Ctrl-C, which reaches all
        processes of a terminal, is left to the job: it sends SIGTERM.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        yield StartedMessage.get()
        context = multiprocessing.get_context("fork")
        reading, writing = context.Pipe(duplex=False)
        process = context.Process(target=_run_test, args=(runnable, reading, writing))
        process.start()
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        writing.close()  # only the test's process has it now, so its end is the end of the messages
        result = yield from _relay(reading)
        status = _end(process)
        yield result or FinishedMessage.get("error", fail_reason=died(status))


def died(status: int) -> str:
    """What is said of a test whose process ended with this status, and left no result."""
    return f"the test's process ended ({describe_status(status)}) without a result"


def _relay(reading: Connection) -> Generator[Message, None, Message | None]:
    """Yield messages as they arrive; returns the result, None when the process ended without one."""
    with suppress(EOFError, OSError):  # OSError: it ended in the middle of a message
        while True:
            message = reading.recv()
            if message.get("status") == "finished":
                return dict(message)
            if message.get("type") != "early_state":  # of no interest to a job
                yield message
    return None


def _end(process: ForkProcess) -> int:
    """Wait for the test's process, which has nothing more to say; returns its status, negative: a signal."""
    process.join(ENDING_S)
    process.kill()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _run_test(runnable: Runnable, reading: Connection, writing: Connection) -> None:
    """In the test's process."""
    reading.close()
    threading.Thread(target=_end_with_runner, daemon=True).start()
    AvocadoInstrumentedTestRunner._run_avocado(runnable, _Messages(writing))


def _end_with_runner() -> None:
    """A test whose runner was killed is of no round any more, but would keep the lab from the next one."""
    runner = multiprocessing.parent_process()
    if runner:
        runner.join()
        os.kill(os.getpid(), signal.SIGKILL)


class _Messages:
    """What Avocado puts a test's messages into; the end of a test that timed out comes from other threads."""

    def __init__(self, writing: Connection) -> None:
        self._writing, self._lock = writing, threading.RLock()

    def put(self, message: Message) -> None:
        with self._lock:
            self._writing.send(message)


class RunnerApp(BaseRunnerApp):  # type: ignore[misc]
    """The command line by which Avocado starts a runner."""

    PROG_NAME = f"avocado-runner-{KIND}"
    PROG_DESCRIPTION = WatchedTestRunner.description
    RUNNABLE_KINDS_CAPABLE = (KIND,)


if __name__ == "__main__":
    RunnerApp(print).run()
