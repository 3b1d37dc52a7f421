# SPDX-License-Identifier: GPL-2.0-or-later
"""Measure: the rounds that are due as one Avocado job, a suite for each look, one test at a time."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from avocado.core.exit_codes import AVOCADO_FAIL, AVOCADO_JOB_FAIL, AVOCADO_JOB_INTERRUPTED
from avocado.core.job import Job
from avocado.core.nrunner.runnable import Runnable
from avocado.core.output import LOG_UI
from avocado.core.suite import TestSuite
from avocado.core.tree import TreeNode
from avocado.core.varianter import dump_variant

from guestloop.config import REPOSITORY
from guestloop.ground.errors import LabError
from guestloop.job.lanes import LanesRunner
from guestloop.job.schedule import Look, Slot
from guestloop.job.sitting import SITTING_KEY, CurrentSitting
from guestloop.job.spawner import Watch, watched
from guestloop.job.views import VIEW_KEY, view_of
from guestloop.results.cells import Cell, Mmu
from guestloop.workloads.catalog import AXES, cell_of


class LookSuite(TestSuite):  # type: ignore[misc]
    """A look as a suite of its own. Once it was run, ``go_on`` may give the job another one.

    A job runs its suites in the order of a list, to which it is added meanwhile (Job.run_tests, core/job.py).
    After an interruption there is none: Avocado would go on with the next suite.
    """

    def __init__(
        self, name: str, config: dict[str, Any], tests: list[Runnable], go_on: Callable[[Job], None]
    ) -> None:
        super().__init__(name, config, tests)
        self._go_on = go_on
        sitting: CurrentSitting | None = config.get(SITTING_KEY)
        if sitting and sitting.lane_count > 1:
            self._runner = LanesRunner()

    def run(self, job: Job) -> set[str]:
        """Run its tests; returns which results there were."""
        summary: set[str] = super().run(job)
        if "INTERRUPTED" not in summary:
            self._go_on(job)
        return summary


class _Suites:
    """Makes the suite of each look when it begins. What goes wrong then is kept: Avocado would log it."""

    def __init__(self, sitting: CurrentSitting, config: dict[str, Any], watch: Watch) -> None:
        self._sitting, self._config, self._watch = sitting, config, watch
        self._found = find_tests()
        self._names: list[str] = []
        self.fault: Exception | None = None

    def suite(self, look: Look) -> LookSuite:
        tests = [_with_parameters(self._found, slot, self._sitting.plan.fresh_boots) for slot in look.slots]
        made = LookSuite(self._name(look), self._config, tests, self.go_on)
        self._watch(made)
        return made

    def _name(self, look: Look) -> str:
        """Results of suites that have the same name would overwrite each other."""
        numbered = (f"{look.name}.{number}" for number in itertools.count(2))
        name = next(name for name in itertools.chain([look.name], numbered) if name not in self._names)
        self._names.append(name)
        return name

    def go_on(self, job: Job) -> None:
        try:
            if look := self._sitting.begin_look():
                job.test_suites.append(self.suite(look))
        except Exception as error:  # noqa: BLE001 - raised when the job is over
            self.fault = error


def measure(sitting: CurrentSitting) -> bool:
    """Run every round that is due; False when it was interrupted. Needs a running lab, unless none is due."""
    # job/progress.py prints the same with figures; warnings and errors of Avocado still come through.
    LOG_UI.setLevel(logging.WARNING)
    first = sitting.begin_look()
    if first is None:
        return True
    with watched([]) as watch, view_of(sitting) as view:
        config = _config(sitting.out) | {SITTING_KEY: sitting, VIEW_KEY: view}
        suites = _Suites(sitting, config, watch)
        with Job(config, [suites.suite(first)]) as job:
            status: int = job.run()
    if suites.fault:
        raise suites.fault
    if status & (AVOCADO_FAIL | AVOCADO_JOB_FAIL):
        raise LabError(
            f"Avocado's job failed, see {sitting.out}/avocado/latest/job.log", hint="--resume goes on with it"
        )
    return not status & AVOCADO_JOB_INTERRUPTED


def _config(out: Path) -> dict[str, Any]:
    return {
        "run.results_dir": str(out / "avocado"),
        "run.max_parallel_tasks": 1,
        "sysinfo.collect.enabled": False,
        "run.keep_tmp": False,
    }


def find_tests(tests: Path = REPOSITORY / "tests") -> dict[tuple[str, str], Runnable]:
    """Avocado's tests by test and value of its first axis, as Avocado itself discovers them.

    Raises LabError when two are of the same value, or when there is none at all: Avocado drops a test
    whose base class it cannot resolve without a word.
    """
    config = {"resolver.references": [str(tests)], "run.ignore_missing_references": True}
    suite = TestSuite.from_config(config, name="discover")
    found: dict[tuple[str, str], Runnable] = {}
    for runnable in suite.tests or []:
        for value in values_of(runnable) if runnable.kind == "avocado-instrumented" else []:
            key = _key(cell_of(runnable.tags, Mmu.TDP, value))
            if key in found:
                raise LabError(f"two tests for {'/'.join(key)}: {found[key].uri} and {runnable.uri}")
            found[key] = runnable
    if not found:
        raise LabError(f"Avocado discovers no test in {tests}", hint="run 'avocado list tests/' to see why")
    return found


def values_of(runnable: Runnable) -> list[dict[str, str]]:
    """What a test measures of its first axis, as parameters: every value, unless a tag names one."""
    tags = runnable.tags or {}
    axis, values = next(iter(AXES[cell_of(tags, Mmu.TDP).test].items()))
    return [{axis: value} for value in tags.get(axis) or values]


def _key(cell: Cell) -> tuple[str, str]:
    """Test and value of its first axis: which Avocado test it is; the rest are parameters."""
    return cell.test, next(iter(cell.variant.values()))


def _with_parameters(found: Mapping[tuple[str, str], Runnable], slot: Slot, fresh_boots: bool) -> Runnable:
    key = _key(slot.cell)
    if key not in found:
        raise LabError(f"no Avocado test is tagged for cell {slot.cell.id}")
    runnable = deepcopy(found[key])
    node = TreeNode().get_node("/run", True)
    node.value = {
        **slot.cell.variant,
        "mmu": slot.cell.mmu.value,
        "kernel": slot.kernel,
        "round": slot.round,
        "repeats": slot.repeats,
        "fresh_boot": "yes" if fresh_boots else "no",
        "probe_changed": "yes" if slot.probed else "no",
    }
    runnable.variant = dump_variant({"variant": [node], "variant_id": slot.label, "paths": ["/run/*"]})
    return runnable
