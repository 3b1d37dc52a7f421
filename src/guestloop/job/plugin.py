# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab for plain ``avocado run -m avocado.yaml -- tests/``: started before the tests, judged after.

Avocado calls this for every job of the environment; it acts only when the job has guest tests and
no lab is running yet (``scripts/run`` starts its own).
"""

from __future__ import annotations

import locale
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any

from avocado.core.exceptions import JobError
from avocado.core.nrunner.runnable import Runnable
from avocado.core.plugin_interfaces import JobPost, JobPre

from guestloop.cache import Cache
from guestloop.config import REPOSITORY, KernelArgument
from guestloop.ground.errors import ConfigError, GuestloopError, LabError
from guestloop.ground.log import say
from guestloop.job.conclude import conclude
from guestloop.job.made_by import signed
from guestloop.job.measure import values_of
from guestloop.job.options import labels, load_kernels
from guestloop.job.prepare import Prepared, find_machine, prepare
from guestloop.job.run import host_facts
from guestloop.job.session import lab_on
from guestloop.job.spawner import watched
from guestloop.job.subjects import find_subjects
from guestloop.lab.spec import SOCKET_VARIABLE, LabSpec
from guestloop.results.cells import Cell
from guestloop.results.plan import Plan, write_plan
from guestloop.workloads.catalog import all_cells, cell_of


class LabForJob(JobPre, JobPost):  # type: ignore[misc]
    """Runs a lab for the length of a job that needs one."""

    name = "guestloop"
    description = "boots the L1 guests that guestloop's tests run in"

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._out: Path | None = None

    def pre(self, job: Any) -> None:
        """Build what is missing and start the lab. Raises JobError, which ends the job with its message."""
        for suite in job.test_suites:
            suite.tests = [each for runnable in suite.tests or [] for each in one_of_each_value(runnable)]
        cells, kernels = planned(job)
        if not cells or SOCKET_VARIABLE in os.environ:
            return
        if not sys.flags.utf8_mode and locale.getencoding() != "UTF-8":
            raise JobError(
                "guestloop's files are UTF-8, and this locale is not: start Avocado with PYTHONUTF8=1"
            )
        self._stack.enter_context(watched(job.test_suites))
        for suite in job.test_suites:
            suite.config["run.max_parallel_tasks"] = 1  # the lab serves one test at a time
        try:
            self._start(Path(job.logdir) / "guestloop", cells, kernels, last_round(job))
        except GuestloopError as error:
            self._stack.close()
            raise JobError(error.render()) from error

    def _start(self, out: Path, cells: list[Cell], kernels: list[str], rounds: int) -> None:
        host, machine = find_machine()
        out.mkdir(parents=True)
        cache = Cache()
        subjects = find_subjects(load_named(kernels), machine.vendor.module, cache)
        prepared = prepare(subjects, machine, out, cache)
        lab = complete_lab(prepared)
        plan = Plan(
            profile="avocado",
            accelerator=machine.kind.name,
            host=host_facts(host, machine, prepared.qemu),
            kernels=prepared.kernels,
            cells=tuple(cells),
            looks=(rounds,),
            correctness_only=True,
            left_out=tuple(cell.id for cell in all_cells() if cell not in cells),
            l2_kernel=prepared.l2_kernel,
            digests=prepared.digests,
        )
        write_plan(out, signed(plan))
        self._stack.enter_context(lab_on(machine.kind, lab, out))
        self._out = out

    def post(self, job: Any) -> None:
        """End the lab, then compare and print; the verdict is in the job's results."""
        self._stack.close()
        if self._out:
            try:
                conclude(self._out)
            except GuestloopError as error:
                say(f"no verdict: {error.render()}")


def complete_lab(prepared: Prepared) -> LabSpec:
    """The lab, in which tests ask for each kernel by name. Raises LabError if one could not be built."""
    failed = [(kernel.name, kernel.failure) for kernel in prepared.kernels if kernel.failure]
    if failed or prepared.lab is None:
        name, failure = failed[0]
        raise LabError("\n".join([f"{name}: {failure.reason}", *failure.details]))
    return prepared.lab


def planned(job: Any) -> tuple[list[Cell], list[str]]:
    """Cells and kernels that the guest tests of a job name in their tags and parameters."""
    cells: list[Cell] = []
    kernels: list[str] = []
    for runnable in _ours(job):
        values = parameters(runnable.variant)
        cell, kernel = cell_of(runnable.tags or {}, values.get("mmu", "tdp"), values), values.get("kernel")
        if cell not in cells:
            cells.append(cell)
        if kernel and kernel not in kernels:
            kernels.append(kernel)
    return cells, kernels


def last_round(job: Any) -> int:
    """The greatest number of a round that a guest test of a job has as a parameter; without one it is 1."""
    return max((int(parameters(runnable.variant).get("round", 1)) for runnable in _ours(job)), default=1)


def load_named(kernels: Sequence[str]) -> tuple[KernelArgument, ...]:
    """The kernels of a job, whose tests ask for them by the parameter as it is written.

    Raises ConfigError for fewer than two, and for one that is called otherwise in the results: a package, or
    a path.
    """
    specs = load_kernels(
        kernels, "parameter kernel", "in the matrix of: avocado run -m avocado.yaml -- tests/"
    )
    for written, name in zip(kernels, labels(specs), strict=True):
        if written != name:
            raise ConfigError(
                f"parameter kernel: {written!r}: only the name of a file in kernels/ can be used here",
                hint=f"scripts/run takes any kernel: --kernels {','.join(kernels)}",
            )
    return specs


def _ours(job: Any) -> Iterator[Runnable]:
    for suite in job.test_suites:
        yield from filter(_is_ours, suite.tests or [])


def _is_ours(runnable: Runnable) -> bool:
    return bool(runnable.uri.startswith((str(REPOSITORY / "tests"), "tests/")))


def one_of_each_value(runnable: Runnable) -> list[Runnable]:
    """A test that is tagged with no value of its first axis, once for each of them; others as they are.

    So a test class can stand for all values of an axis, and adding one adds no class.
    """
    if not _is_ours(runnable):
        return [runnable]
    values = values_of(runnable)
    given = parameters(runnable.variant)
    if len(values) == 1 or given.keys() & values[0].keys():
        return [runnable]
    return [_with_parameter(runnable, axis, value) for item in values for axis, value in item.items()]


def _with_parameter(runnable: Runnable, axis: str, value: str) -> Runnable:
    made = deepcopy(runnable)
    variant = made.variant or {"variant": [], "variant_id": None, "paths": ["/run/*"]}
    label = f"{variant['variant_id']}-{value}" if variant["variant_id"] else value
    pairs = [*variant["variant"], ["/run", [["/run", axis, value]]]]
    made.variant = {**variant, "variant": pairs, "variant_id": label}
    return made


def parameters(variant: Any) -> dict[str, str]:
    """The parameters in a variant as Avocado dumps it, a list of (path, [(path, key, value)])."""
    if not variant:
        return {}
    return {key: str(value) for _, pairs in variant["variant"] for _, key, value in pairs}
