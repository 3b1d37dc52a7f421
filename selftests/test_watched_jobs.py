# SPDX-License-Identifier: GPL-2.0-or-later
"""Jobs of Avocado in which tests die: each is seen at once, its round is recorded, and the job goes on.

These are real jobs. No guest and no lab takes part in them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from avocado.core import suite as avocado
from avocado.core.job import Job
from avocado.core.nrunner.runnable import Runnable
from avocado.core.status.repo import StatusRepo
from avocado.core.utils.messages import FinishedMessage
from forked import forked_runners
from processes import at_most, is_running
from samples import DIGESTS, L2_KERNEL, REFERENCE, compare, plan_of
from test_job import classes_in_tests

from guestloop.compare import Status
from guestloop.config import REPOSITORY
from guestloop.ground.wait import wait_for
from guestloop.job import measure, plugin
from guestloop.job.plugin import parameters, planned
from guestloop.job.runner import KIND
from guestloop.job.sitting import CurrentSitting
from guestloop.job.spawner import SPAWNER, Watch, WatchedSpawner, watched
from guestloop.lab.spec import OUT_VARIABLE, SOCKET_VARIABLE
from guestloop.results.cells import Mmu
from guestloop.results.findings import Finding, FindingKind
from guestloop.results.plan import Kernels, Plan, write_plan
from guestloop.results.records import Outcome, Round, read_rounds
from guestloop.workloads.catalog import cell_of

CELL = cell_of({"asyncpf": None}, Mmu.TDP)
LONG = "x" * 150
"""A directory of this name is longer than the name of a socket can be."""

KILLED = "the test's process ended (killed by signal 9) without a result"
SILENT = "the test ended (PASS) and wrote no result"

# What becomes of a test says the name of its kernel.
TEST = """\
import os, signal
from pathlib import Path
from avocado import Test


class Mortal(Test):
    \"\"\":avocado: tags=asyncpf,load:read-shared\"\"\"

    def test(self):
        Path(__file__).with_suffix("." + self.params.get("kernel")).write_text(str(os.getpid()))
        match self.params.get("kernel"):
            case "test-dies":
                os.kill(os.getpid(), signal.SIGKILL)
            case "runner-dies":
                os.kill(os.getppid(), signal.SIGKILL)
                signal.sigwait([signal.SIGUSR1])
"""


def plan_for(*names: str) -> Plan:
    """One round of CELL on kernels of these names."""
    return plan_of(*(replace(REFERENCE, name=name) for name in names), cells=(CELL,), rounds=1)


@contextmanager
def long_tmpdir(directory: Path) -> Iterator[None]:
    (directory / LONG).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(directory / LONG))
        patch.setattr(tempfile, "tempdir", None)
        yield


# --- the job of scripts/run ------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """A job that is over."""

    complete: bool
    plan: Plan
    tests: Path
    rounds: list[Round]
    sockets: list[str]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """One job for all: a test dies, the runner of the next one dies, and the third says nothing."""
    out = tmp_path_factory.mktemp("watched")
    (out / "tests").mkdir()
    (out / "tests/mortal.py").write_text(TEST)
    plan = plan_for("test-dies", "runner-dies", "silent")
    write_plan(out, plan)
    found = measure.find_tests(out / "tests")
    sockets: list[str] = []

    @contextmanager
    def noting(suites: list[avocado.TestSuite]) -> Iterator[Watch]:
        with watched(suites) as watch:

            def note(suite: avocado.TestSuite) -> None:
                watch(suite)
                sockets.append(suite.config["run.status_server_uri"])

            yield note

    with pytest.MonkeyPatch.context() as patch, long_tmpdir(out), forked_runners(), at_most(60):
        patch.setenv(OUT_VARIABLE, str(out))
        patch.setattr(measure, "find_tests", lambda: found)
        patch.setattr(measure, "watched", noting)
        complete = measure.measure(CurrentSitting(plan, out))
    yield Done(complete, plan, out / "tests", read_rounds(out), sockets)


def test_the_job_goes_on_to_its_end(done: Done) -> None:
    assert done.complete
    assert {item.kernel for item in done.rounds} == set(done.plan.kernels.names)
    assert (done.tests / "mortal.silent").exists()


@pytest.mark.parametrize(
    ("kernel", "reason"), [("test-dies", KILLED), ("runner-dies", KILLED), ("silent", SILENT)]
)
def test_the_round_says_how_its_test_ended(done: Done, kernel: str, reason: str) -> None:
    first, again = (item for item in done.rounds if item.kernel == kernel)
    assert (first.round, first.repeats, again.round, again.repeats) == (1, 0, 2, 1), "it is repeated once"
    for record in (first, again):
        assert (record.cell, record.outcome) == (CELL, Outcome.INVALID)
        assert record.findings == (Finding(FindingKind.INTERRUPTED, reason),) and record.reason == reason


def test_so_does_the_verdict(done: Done) -> None:
    (cell,) = compare(done.plan, done.rounds).cells
    assert (cell.status, cell.reason) == (Status.INVALID, f"test-dies, round 1: {KILLED}")


def test_a_test_does_not_outlive_its_runner(done: Done) -> None:
    pid = int((done.tests / "mortal.runner-dies").read_text())
    wait_for("the test to end", lambda: None if is_running(pid) else True, 10)


def test_the_status_socket_has_a_short_name_and_is_removed(done: Done) -> None:
    (socket,) = set(done.sockets)
    assert len(socket) < 60 and not Path(socket).parent.exists()


def test_a_runner_that_does_not_start_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plan(tmp_path, plan := plan_for("one", "two"))
    (tmp_path / "mortal.py").write_text(TEST)
    found = measure.find_tests(tmp_path)
    monkeypatch.setenv(OUT_VARIABLE, str(tmp_path))
    monkeypatch.setattr(measure, "find_tests", lambda: found)
    monkeypatch.setattr("sys.executable", str(tmp_path / "nothing"))
    with at_most(60):
        assert measure.measure(CurrentSitting(plan, tmp_path))
    assert [item.reason for item in read_rounds(tmp_path)] == [
        "the test's process could not be started: No such file or directory"
    ] * 4


class Ended:
    """A process that has ended, while what it sent is still on its way."""

    def __init__(self, after_s: float, deliver: Callable[[], None]) -> None:
        self._after_s, self._deliver = after_s, deliver

    async def wait(self) -> int:
        asyncio.get_running_loop().call_later(self._after_s, self._deliver)
        return 1


def test_a_result_that_is_read_after_the_end_counts() -> None:
    results, config = StatusRepo("job"), {"some": "config"}
    sender = {"id": "1-test", "job_id": "job"}
    suite = SimpleNamespace(config=config, runner=SimpleNamespace(status_repo=results))
    spawner = WatchedSpawner(config, SimpleNamespace(test_suites=[suite]))
    task = SimpleNamespace(identifier="1-test", job_id="job", runnable=SimpleNamespace(output_dir="out"))
    passed = FinishedMessage.get("pass", **sender)

    asyncio.run(spawner._see_end(task, cast("Any", Ended(0.1, lambda: results.process_message(passed)))))
    assert [message["result"] for message in results.get_all_task_data("1-test")] == ["pass"]


# --- plain avocado run -----------------------------------------------------------------------------

VARIANTS = """\
kernels: !mux
  first:
    kernel: test-dies
  second:
    kernel: silent
"""


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """The job that ``avocado run -m avocado.yaml -- tests/`` makes, with nothing built and no lab."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/mortal.py").write_text(TEST)
    (tmp_path / "avocado.yaml").write_text(VARIANTS)

    @contextmanager
    def no_lab(_kind: object, _lab: object, out: Path) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(OUT_VARIABLE, str(out))
            yield

    def prepared(specs: tuple[str, ...], *_: object) -> Any:
        kernels = [replace(REFERENCE, name=name) for name in specs]
        both = Kernels(kernels[0], tuple(kernels[1:]))
        return SimpleNamespace(lab="a lab", qemu="7.2", kernels=both, l2_kernel=L2_KERNEL, digests=DIGESTS)

    monkeypatch.delenv(SOCKET_VARIABLE, raising=False)
    monkeypatch.setattr(plugin, "REPOSITORY", tmp_path)
    monkeypatch.setattr(plugin, "load_named", tuple)
    monkeypatch.setattr(plugin, "find_subjects", lambda specs, *_: specs)
    monkeypatch.setattr(plugin, "prepare", prepared)
    monkeypatch.setattr(plugin, "lab_on", no_lab)
    config = {
        "resolver.references": [str(tmp_path / "tests")],
        "yaml_to_mux.files": [str(tmp_path / "avocado.yaml")],
        "run.results_dir": str(tmp_path / "results"),
        "sysinfo.collect.enabled": False,
    }
    return Job.from_config(config)


def test_plain_avocado_sees_a_death_too_and_judges(plain: Job, tmp_path: Path) -> None:
    with long_tmpdir(tmp_path), at_most(60), plain:
        plain.run()
    out = Path(plain.logdir) / "guestloop"
    assert [(item.kernel, item.reason) for item in read_rounds(out)] == [
        ("silent", SILENT),
        ("test-dies", KILLED),
    ]
    data = json.loads((out / "verdict.json").read_text())
    assert data["verdict"] == "nothing-measured"
    assert list(data["kernels"]) == ["test-dies", "silent"], "the reference is the one that is named first"
    assert data["cells"][0]["reason"] == f"test-dies, round 1: {KILLED}"


def test_only_instrumented_tests_get_another_runner() -> None:
    tests = [Runnable("exec-test", "/bin/true"), Runnable("avocado-instrumented", "mortal.py:Mortal.test")]
    suite = avocado.TestSuite("some", {}, tests)
    with watched([suite]):
        assert [runnable.kind for runnable in suite.tests] == ["exec-test", KIND]
        assert suite.config["run.spawner"] == SPAWNER


@pytest.mark.parametrize(
    "reference",
    [REPOSITORY / "tests", *sorted((REPOSITORY / "tests").glob("*/*.py"))],
    ids=lambda it: it.name,
)
def test_avocado_lists_every_test_for_every_kernel_and_mode(reference: Path) -> None:
    """Avocado drops a test whose base class it cannot resolve, and says nothing."""
    variants = {"yaml_to_mux.files": [str(REPOSITORY / "avocado.yaml")]}
    config = {"resolver.references": [str(reference)], **variants}
    suite = avocado.TestSuite.from_config(config, name="selftest")
    listed = set()
    for runnable in suite.tests:
        values = parameters(runnable.variant)
        listed.add((runnable.uri.rpartition(".")[0], values["kernel"], values["mmu"]))
    classes = {name for name in classes_in_tests() if name.startswith(str(reference))}
    kernels, modes = ("unpatched", "patched"), [mode.value for mode in Mmu if mode.is_everywhere]
    assert classes and listed == set(itertools.product(classes, kernels, modes))
    cells, seen = planned(SimpleNamespace(test_suites=[suite]))
    assert tuple(seen) == kernels and {cell.mmu.value for cell in cells} == set(modes)
