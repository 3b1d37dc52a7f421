# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests of a look in several labs side by side: those of each lab one after the other, in their order.

Avocado's own runner starts the next test of a suite as soon as any has ended, and would have one wait for its
lab while another lab has nothing to do. Here each lab has a queue and a worker of its own. All else is as in
Avocado (113, Runner.run_suite in plugins/runner_nrunner.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

from avocado.core.dispatcher import SpawnerDispatcher
from avocado.core.job import Job
from avocado.core.nrunner.runner import check_runnables_runner_requirements
from avocado.core.suite import TestSuite
from avocado.core.task.runtime import RuntimeTaskGraph, RuntimeTaskStatus
from avocado.core.task.statemachine import TaskStateMachine, Worker
from avocado.plugins.runner_nrunner import Runner

from guestloop.ground.wait import comes_true
from guestloop.job.sitting import SITTING_KEY, CurrentSitting

SETTLING_TURNS = 200
"""Within these a test that is being started has been started, and one that has ended has its result."""

INTERRUPTED = "INTERRUPTED"


class LanesRunner(Runner):  # type: ignore[misc]
    """Runs a suite lane by lane. A lane is the queue of one lab."""

    name = "guestloop-lanes"
    description = "runs the tests of several labs side by side"

    def run_suite(self, job: Job, test_suite: TestSuite) -> set[str]:
        """Run its tests; returns which results there were."""
        spawner = SpawnerDispatcher(test_suite.config, job)[test_suite.config["run.spawner"]].obj
        test_suite.tests, missing = check_runnables_runner_requirements(test_suite.tests)
        self._abort_if_missing_runners(missing)
        job.result.tests_total = len(test_suite.tests)
        self._create_status_server(test_suite, job)
        tasks = self._tasks(job, test_suite)
        lanes = self._lanes(tasks, test_suite.config[SITTING_KEY])
        summary = self._run(job, lanes, [Worker(lane, spawner, max_running=1) for lane in lanes])
        job.result.end_tests()
        self.status_server.close()
        ids = [task.task.identifier for task in tasks]
        return summary | {status.upper() for status in self.status_repo.get_result_set_for_tasks(ids)}

    def _tasks(self, job: Job, suite: TestSuite) -> list[Any]:
        uri = self._determine_status_server(suite, "run.status_server_uri")
        graph = RuntimeTaskGraph(
            suite.tests, suite.name, uri, job.unique_id, job.test_results_path, suite.config
        )
        tasks: list[Any] = graph.get_tasks_in_topological_order()
        return tasks

    def _lanes(self, tasks: Iterable[Any], sitting: CurrentSitting) -> list[TaskStateMachine]:
        queues: dict[int, list[Any]] = {}
        for task in tasks:
            slot = sitting.slot(task.task.identifier.variant)
            queues.setdefault(sitting.lane_of(slot), []).append(task)
        lanes = [TaskStateMachine(queue, self.status_repo) for queue in queues.values()]
        # What _update_status() looks tasks up in.
        self.tsm = SimpleNamespace(
            tasks_by_id={name: task for lane in lanes for name, task in lane.tasks_by_id.items()}
        )
        return lanes

    def _run(self, job: Job, lanes: Sequence[TaskStateMachine], workers: Sequence[Worker]) -> set[str]:
        """Returns that it was interrupted, if so."""
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        # Nothing else refers to a task of the loop.
        helpers = [loop.create_task(self.status_server.serve_forever())]
        helpers.append(loop.create_task(self._update_status(job)))
        running = asyncio.gather(*(loop.create_task(worker.run()) for worker in workers))
        summary = set()
        try:
            loop.run_until_complete(asyncio.shield(running))
        except KeyboardInterrupt as error:
            loop.run_until_complete(_interrupt(lanes, workers))
            job.interrupted_reason = str(error)
            summary.add(INTERRUPTED)
        loop.run_until_complete(comes_true(lambda: False, len(lanes)))  # the last messages are taken in
        return summary


async def _interrupt(lanes: Sequence[TaskStateMachine], workers: Sequence[Worker]) -> None:
    """Begin nothing more, and end what runs.

    Avocado looks for a task that is on its way from one state to the next without letting it get there.
    """
    for lane in lanes:
        await lane.abort(RuntimeTaskStatus.INTERRUPTED)
    await comes_true(lambda: all(map(_is_settled, lanes)), SETTLING_TURNS)
    ending = (
        worker.terminate_tasks_interrupted()
        for lane, worker in zip(lanes, workers, strict=True)
        if _is_settled(lane)
    )
    await asyncio.gather(*ending)


def _is_settled(lane: TaskStateMachine) -> bool:
    """Each of its tasks runs or is over."""
    return bool(len(lane.finished) + len(lane.monitored) == lane.task_size)
