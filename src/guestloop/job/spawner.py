# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests that end without a result are seen at once: what a job needs for that.

Avocado waits for the result of a task for ever, also when the task's process is gone (113, Worker.monitor in
core/task/statemachine.py). The spawner here reports such a task as an error, so that the job goes on.
runner.py does the same for the process of the test itself, which is a child of the task's.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from avocado.core.nrunner.runnable import RUNNERS_REGISTRY_STANDALONE_EXECUTABLE
from avocado.core.nrunner.task import Task
from avocado.core.suite import TestSuite
from avocado.core.utils.messages import FinishedMessage, StartedMessage
from avocado.plugins.spawners.process import ProcessSpawner, ProcessSpawnerHandle

from guestloop.ground.errors import LabError
from guestloop.ground.isolated import python
from guestloop.ground.surroundings import inherited
from guestloop.ground.wait import comes_true
from guestloop.job import runner
from guestloop.job.sitting import SITTING_KEY, CurrentSitting
from guestloop.lab.spec import SOCKET_VARIABLE, RunningLab
from guestloop.machines.pinning import pin

SPAWNER = "guestloop"
"""The name of the spawner's entry point in pyproject.toml."""

SHORT_DIRECTORIES = tuple(map(Path, ("/tmp", "/var/tmp", "/run", "/dev/shm")))
"""Where the status socket can be made: $TMPDIR may be longer than the name of a socket can be (unix(7))."""

# Avocado kills a job's tests this long after asking them to end; its default of 1 s is too short
# for a test to have its guests ended.
SOFT_TO_HARD_S = 20

NOT_STARTED = "not started: its cell does not fit into what is left of the budget"
"""The reason of a test that was skipped. Nothing was measured, and there is no record of its round."""

DRAIN_TURNS = 10
"""Within these the job has read what a process sent before it ended: the kernel holds a few reads of it."""


def check_semaphores() -> None:
    """Raise LabError where no semaphores can be made: Avocado runs each test in a ThreadPool, which has one.

    They are files in /dev/shm (shm_overview(7)), which some containers lack or have read-only.
    """
    try:
        multiprocessing.get_context("fork").Lock()
    except OSError as error:
        raise LabError(
            f"no semaphore can be made in /dev/shm, which Avocado needs: {error.strerror}",
            hint="mount -t tmpfs tmpfs /dev/shm, or start the container with a writable one",
        ) from error


Watch = Callable[[TestSuite], None]
"""Has a suite watched like those that were there from the start."""


@contextmanager
def watched(suites: Sequence[TestSuite]) -> Iterator[Watch]:
    """While the body runs these suites, each instrumented test that dies ends with a result.

    The body is given what has a suite watched that is made later.
    """
    RUNNERS_REGISTRY_STANDALONE_EXECUTABLE[runner.KIND] = python(runner.__name__)
    with tempfile.TemporaryDirectory(prefix="guestloop-", dir=_short_directory()) as directory:

        def watch(suite: TestSuite) -> None:
            _watch(suite, f"{directory}/status")

        for suite in suites:
            watch(suite)
        yield watch


def _short_directory() -> Path:
    """The first of those that can be written. Raises LabError if none can."""
    for path in SHORT_DIRECTORIES:
        if os.access(path, os.W_OK | os.X_OK):
            return path
    tried = ", ".join(map(str, SHORT_DIRECTORIES))
    raise LabError(f"no place for a socket: none of {tried} can be written", hint="make /tmp writable")


def _watch(suite: TestSuite, socket: str) -> None:
    suite.config |= {
        "run.spawner": SPAWNER,
        "run.status_server_auto": False,
        "run.status_server_listen": socket,
        "run.status_server_uri": socket,
        "runner.task.interval.from_soft_to_hard_termination": SOFT_TO_HARD_S,
    }
    for runnable in suite.tests or []:
        if runnable.kind == "avocado-instrumented":
            runnable.kind = runner.KIND


class WatchedSpawner(ProcessSpawner):  # type: ignore[misc]
    """Starts the processes of tasks, and reports for those that ended without having done so."""

    description = "starts tasks as processes, and notices when one dies"

    async def spawn_task(self, runtime_task: Any) -> bool:
        """Start a task. False when that failed or it is not to be, and then it has been reported."""
        task = runtime_task.task
        sitting: CurrentSitting | None = self.config.get(SITTING_KEY)
        slot = sitting.slot(task.identifier.variant) if sitting else None
        if sitting and slot and not sitting.may_start(slot):
            self._report(task, NOT_STARTED, "skip")
            return False
        self.create_task_output_dir(runtime_task)
        argv = [*task.runnable.runner_command(), "task-run", *task.get_command_args()]
        try:
            process = await _start(argv, sitting.lab_of(slot) if sitting and slot else None)
        except OSError as error:
            self._report(task, f"the test's process could not be started: {error.strerror}")
            return False
        runtime_task.spawner_handle = _Handle(process, lambda: self._see_end(task, process))
        return True

    async def _see_end(self, task: Task, process: asyncio.subprocess.Process) -> None:
        status = await process.wait()
        if not await comes_true(lambda: self._has_result(task), DRAIN_TURNS):
            self._report(task, runner.died(status))

    def _has_result(self, task: Task) -> bool:
        return bool(self._results.get_task_status(str(task.identifier)) == "finished")

    def _report(self, task: Task, reason: str, result: str = "error") -> None:
        """Send the messages that the task owes."""
        sender = {"id": str(task.identifier), "job_id": task.job_id}
        if self._results.get_task_status(sender["id"]) is None:
            started = StartedMessage.get(output_dir=task.runnable.output_dir, **sender)
            self._results.process_message(started)
        self._results.process_message(FinishedMessage.get(result, fail_reason=reason, **sender))

    @property
    def _results(self) -> Any:
        """The StatusRepo of the suite that runs; Avocado makes it after the spawner."""
        suite = next(suite for suite in self._job.test_suites if suite.config is self.config)
        return suite.runner.status_repo


async def _start(argv: Sequence[str], lab: RunningLab | None) -> asyncio.subprocess.Process:
    """A process that finds this lab, and runs beside it on the CPUs that are its own."""
    environment = inherited() | ({SOCKET_VARIABLE: lab.socket} if lab else {})
    null = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=null, stderr=null)
    if lab:
        pin(process.pid, lab.cpus)
    return process


class _Handle(ProcessSpawnerHandle):  # type: ignore[misc]
    """A task ends for Avocado when what ``end`` returns is done."""

    _wait_task: asyncio.Task[None] | None

    def __init__(
        self, process: asyncio.subprocess.Process, end: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        super().__init__(process)
        self._end = end

    def create_wait_task(self) -> None:
        if self._wait_task is None:
            self._wait_task = asyncio.get_running_loop().create_task(self._end())
