# SPDX-License-Identifier: GPL-2.0-or-later
"""Measure: the planned rounds as one Avocado job, one test at a time, in alternating order."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avocado.core.exit_codes import AVOCADO_JOB_INTERRUPTED
from avocado.core.job import Job
from avocado.core.nrunner.runnable import Runnable
from avocado.core.output import LOG_UI
from avocado.core.suite import TestSuite
from avocado.core.tree import TreeNode
from avocado.core.varianter import dump_variant

from guestloop.config import REPOSITORY
from guestloop.ground.errors import LabError
from guestloop.job.spawner import watched
from guestloop.results.cells import Cell, Mmu
from guestloop.results.plan import Plan
from guestloop.workloads.catalog import AXES, cell_of

PROGRESS_KEY = "guestloop.progress"


@dataclass(frozen=True)
class Slot:
    """One test of the job: a round of a cell on one kernel. ``probed``: see Plan.probes."""

    cell: Cell
    kernel: str
    round: int
    probed: bool = False


def order(plan: Plan) -> Iterator[Slot]:
    """Rounds in the order they run: A B C, then C B A, so that a drift of the host does not favour one."""
    names = [kernel.name for kernel in plan.kernels.measured]
    for number in range(1, plan.rounds + 1):
        for index, cell in enumerate(plan.cells):
            turned = (number + index) % 2 == 0
            for kernel in names[::-1] if turned else names:
                yield Slot(cell, kernel, number, plan.probes(cell, kernel, number))


def measure(plan: Plan, out: Path, *, fresh_boots: bool = False) -> bool:
    """Run every round; False when it was interrupted. Needs a running lab."""
    # job/progress.py prints the same with figures; warnings and errors of Avocado still come through.
    LOG_UI.setLevel(logging.WARNING)
    slots = list(order(plan))
    config = _config(out) | {PROGRESS_KEY: slots}
    suite = TestSuite("measure", config, _runnables(slots, fresh_boots))
    with watched([suite]), Job(config, [suite]) as job:
        status: int = job.run()
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


def _runnables(slots: list[Slot], fresh_boots: bool) -> list[Runnable]:
    found = find_tests()
    return [_with_parameters(found, slot, fresh_boots) for slot in slots]


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
        "fresh_boot": "yes" if fresh_boots else "no",
        "probe_changed": "yes" if slot.probed else "no",
    }
    label = f"{slot.cell.mmu}-{slot.kernel}-{slot.round}"
    runnable.variant = dump_variant({"variant": [node], "variant_id": label, "paths": ["/run/*"]})
    return runnable
