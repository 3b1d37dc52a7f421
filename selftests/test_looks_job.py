# SPDX-License-Identifier: GPL-2.0-or-later
"""Looks as suites of one Avocado job: run in sequence, and made when the one before was judged.

These are real jobs. No guest and no lab takes part in them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree

import pytest
from avocado.core import suite as avocado
from avocado.core.exit_codes import (
    AVOCADO_ALL_OK,
    AVOCADO_FAIL,
    AVOCADO_JOB_FAIL,
    AVOCADO_JOB_INTERRUPTED,
    AVOCADO_TESTS_FAIL,
)
from avocado.core.job import Job
from avocado.core.nrunner.runnable import RUNNERS_REGISTRY_STANDALONE_EXECUTABLE, Runnable
from forked import forked_runners
from processes import at_most
from samples import CANDIDATE, REFERENCE, A, B, plan_of

from guestloop.ground.errors import LabError
from guestloop.job import measure
from guestloop.job.measure import LookSuite
from guestloop.job.sitting import CurrentSitting
from guestloop.job.spawner import NOT_STARTED
from guestloop.lab.spec import OUT_VARIABLE
from guestloop.results.cells import Mmu
from guestloop.results.plan import Plan, write_plan
from guestloop.results.records import Outcome, Round, read_rounds
from guestloop.results.sittings import Ending, Sitting
from guestloop.workloads.catalog import cell_of

TDP, SHADOW = (cell_of({"asyncpf": None}, mmu) for mmu in (Mmu.TDP, Mmu.SHADOW))

# Writes the round that it stands for, which nothing is measured in.
TEST = """\
import os
from pathlib import Path
from avocado import Test
from guestloop.results.records import Outcome, Round, write_round
from guestloop.workloads.catalog import cell_of


class Quick(Test):
    \"\"\":avocado: tags=asyncpf,load:read-shared\"\"\"

    def test(self):
        out, get = Path(os.environ["GUESTLOOP_OUT"]), self.params.get
        cell, number = cell_of(self.tags, get("mmu")), int(get("round"))
        write_round(out, Round(cell, get("kernel"), number, 1, Outcome.MEASURED, seconds=1.0))
"""


@dataclass(frozen=True)
class Done:
    """A job that is over, and what was there when each look was judged."""

    complete: bool
    rounds: list[Round]
    sitting: Sitting
    judged: list[int]
    results: Path

    @property
    def tests(self) -> list[dict[str, Any]]:
        data = json.loads((self.results / "results.json").read_text())
        found: list[dict[str, Any]] = data["tests"]
        return found


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """Two cells in three looks. In the second one the clock jumps when its first cell is done."""
    out = tmp_path_factory.mktemp("looks")
    (out / "tests").mkdir()
    (out / "tests/quick.py").write_text(TEST)
    plan = replace(plan_of(REFERENCE, CANDIDATE, cells=(TDP, SHADOW)), looks=(1, 2, 3), budget_s=1000.0)
    write_plan(out, plan)
    found = measure.find_tests(out / "tests")
    judged: list[int] = []

    def judge(_plan: Plan, rounds: Sequence[Round]) -> dict[str, int]:
        assert len(rounds) == len(read_rounds(out)), "all of them are known"
        judged.append(len(rounds))
        return dict.fromkeys((TDP.id, SHADOW.id), 3)

    sitting = CurrentSitting(plan, out, judge, lambda: 2000.0 if len(read_rounds(out)) >= 6 else 0.0)
    with pytest.MonkeyPatch.context() as patch, forked_runners(), at_most(60):
        patch.setenv(OUT_VARIABLE, str(out))
        patch.setattr(measure, "find_tests", lambda: found)
        complete = measure.measure(sitting)
        record = sitting.finish(complete)
    yield Done(complete, read_rounds(out), record, judged, out / "avocado" / "latest")


def test_a_look_begins_when_the_one_before_was_judged(done: Done) -> None:
    """After the last one: whether there is another, and what is left."""
    assert done.complete and done.judged == [4, 6, 6]
    assert [(look.name, look.cells, look.rounds) for look in done.sitting.measured] == [
        ("look-1", 2, 4),
        ("look-2", 1, 2),
    ]


def test_every_round_is_named_with_cell_and_kernel(done: Done) -> None:
    names = [test["name"].rpartition(";")[2] for test in done.tests]
    assert names == [
        *(f"{TDP.id}-{kernel}-1" for kernel in (A, B)),
        *(f"{SHADOW.id}-{kernel}-1" for kernel in (B, A)),
        *(f"{TDP.id}-{kernel}-2" for kernel in (B, A)),
        *(f"{SHADOW.id}-{kernel}-2" for kernel in (A, B)),
    ]
    looks = [test["id"].partition("/")[0] for test in done.tests]
    assert looks == [f"look-{look}-{test}-" for look in (1, 2) for test in (1, 2, 3, 4)]


def test_what_did_not_fit_is_skipped_with_the_reason_and_has_no_record(done: Done) -> None:
    assert [test["status"] for test in done.tests] == ["PASS"] * 6 + ["SKIP"] * 2
    assert [test["fail_reason"] for test in done.tests[6:]] == [NOT_STARTED] * 2
    assert {(item.cell.id, item.round) for item in done.rounds} == {(TDP.id, 1), (SHADOW.id, 1), (TDP.id, 2)}
    assert all(item.outcome is Outcome.MEASURED for item in done.rounds)
    assert done.sitting.ending is Ending.BUDGET
    assert [(one.cell, one.rounds, one.more) for one in done.sitting.left] == [
        (TDP.id, 2, 2),
        (SHADOW.id, 1, 4),
    ]


def test_all_results_of_the_job_have_all_looks(done: Done) -> None:
    data = json.loads((done.results / "results.json").read_text())
    assert (data["total"], data["pass"], data["skip"], data["errors"]) == (8, 6, 2, 0)
    suite = ElementTree.parse(done.results / "results.xml").getroot()
    names = [case.get("name", "").rpartition(";")[2] for case in suite.iter("testcase")]
    assert names == [test["name"].rpartition(";")[2] for test in done.tests]
    log = (done.results / "job.log").read_text()
    assert all(name in log for name in names)


# --- suites ----------------------------------------------------------------------------------------


def test_a_job_runs_suites_that_are_added_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noop = [sys.executable, "-m", "avocado.plugins.runners.noop"]  # else it is looked for
    monkeypatch.setitem(RUNNERS_REGISTRY_STANDALONE_EXECUTABLE, "noop", noop)
    made: list[str] = []

    def go_on(job: Job) -> None:
        made.append("".join(test["status"][0] for test in job.result.tests))
        if len(made) < 3:
            job.test_suites.append(suite(f"look-{len(made) + 1}"))

    def suite(name: str) -> LookSuite:
        return LookSuite(name, config, [Runnable("noop", f"{name}.noop")], go_on)

    config = {"run.results_dir": str(tmp_path), "sysinfo.collect.enabled": False}
    with forked_runners(), at_most(60), Job(config, [suite("look-1")]) as job:
        assert job.run() == 0
    assert made == ["P", "PP", "PPP"], "each was over when the next one was made"
    assert [str(test["name"]) for test in job.result.tests] == [
        f"look-{n}-1-look-{n}.noop" for n in (1, 2, 3)
    ]


@pytest.mark.parametrize(("summary", "calls"), [({"PASS"}, 1), ({"FAIL"}, 1), ({"PASS", "INTERRUPTED"}, 0)])
def test_nothing_is_begun_after_an_interruption(
    summary: set[str], calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Avocado itself would go on with the next suite."""
    monkeypatch.setattr(avocado.TestSuite, "run", lambda *_: summary)
    called: list[Job] = []
    assert LookSuite("look-1", {}, [], called.append).run(cast(Job, object())) == summary
    assert len(called) == calls


class FakeJob:
    """Runs no test."""

    status = 0

    def __init__(self, _config: object, suites: list[LookSuite]) -> None:
        self.test_suites = suites

    def __enter__(self) -> FakeJob:
        return self

    def __exit__(self, *_: object) -> None: ...

    def run(self) -> int:
        for suite in self.test_suites:
            suite._go_on(self)
        return self.status


@pytest.fixture
def fake_job(monkeypatch: pytest.MonkeyPatch) -> type[FakeJob]:
    monkeypatch.setattr(measure, "Job", FakeJob)
    monkeypatch.setattr(measure, "find_tests", dict)
    return FakeJob


def sitting_of(*looks: Exception | None) -> CurrentSitting:
    """After a look without rounds, each of these is raised, or there is no other look."""
    answers = iter([SimpleNamespace(name="look-1", slots=()), *looks])

    def begin_look() -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    plan = plan_of(REFERENCE, CANDIDATE)
    fields = {"begin_look": begin_look, "out": Path("out"), "plan": plan, "lane_count": 1}
    return cast(CurrentSitting, SimpleNamespace(**fields))


@pytest.mark.usefixtures("fake_job")
def test_what_goes_wrong_between_looks_ends_the_job_and_is_raised() -> None:
    """Avocado logs what a suite raises, and the run would go on with what it has."""
    with pytest.raises(LabError, match="a round is damaged"):
        measure.measure(sitting_of(LabError("a round is damaged")))


@pytest.mark.parametrize(
    ("status", "complete"),
    [(AVOCADO_ALL_OK, True), (AVOCADO_TESTS_FAIL, True), (AVOCADO_JOB_INTERRUPTED, False)],
)
def test_how_a_job_ended(
    status: int, complete: bool, fake_job: type[FakeJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_job, "status", status)
    assert measure.measure(sitting_of(None)) is complete


@pytest.mark.parametrize("status", [AVOCADO_FAIL, AVOCADO_JOB_FAIL | AVOCADO_TESTS_FAIL])
def test_a_job_that_fails_itself_is_no_end(
    status: int, fake_job: type[FakeJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what it did not run would be taken for left out by the budget."""
    monkeypatch.setattr(fake_job, "status", status)
    with pytest.raises(LabError, match=r"Avocado's job failed, see out/avocado/latest/job\.log"):
        measure.measure(sitting_of(None))


def test_two_suites_of_one_look_have_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell that is open again makes an earlier look come back."""
    monkeypatch.setattr(measure, "find_tests", dict)
    suites = measure._Suites(cast(CurrentSitting, SimpleNamespace()), {}, lambda _suite: None)
    looks = [SimpleNamespace(name=name, slots=()) for name in ("look-2", "look-3", "look-2", "look-2")]
    names = [suites.suite(cast(Any, look)).name for look in looks]
    assert names == ["look-2", "look-3", "look-2.2", "look-2.3"]


def test_nothing_due_is_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "Job", lambda *_: pytest.fail("a job was made"))
    assert measure.measure(cast(CurrentSitting, SimpleNamespace(begin_look=lambda: None)))
