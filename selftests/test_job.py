# SPDX-License-Identifier: GPL-2.0-or-later
"""The job: in what order rounds run, which tests there are, and where results go."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from avocado.core import suite
from avocado.core.nrunner.runnable import Runnable
from avocado.core.parameters import AvocadoParams
from avocado.plugins.runners.avocado_instrumented import AvocadoInstrumentedTestRunner
from samples import BUILT

from guestloop.config import REPOSITORY, load_kernel
from guestloop.ground.errors import ConfigError, LabError
from guestloop.job.measure import _with_parameters, find_tests
from guestloop.job.options import labels, load_kernels
from guestloop.job.plugin import (
    LabForJob,
    last_round,
    load_named,
    one_of_each_value,
    parameters,
    planned,
)
from guestloop.job.run import check_directory, new_directory
from guestloop.job.schedule import Slot
from guestloop.job.views import summary
from guestloop.lab.spec import SOCKET_VARIABLE
from guestloop.results.cells import Cell, Mmu
from guestloop.results.findings import Finding, FindingKind
from guestloop.results.plan import PLAN_FILE, Kernels, Plan, PlannedKernel, Reach, read_plan, write_plan
from guestloop.results.records import Correctness, Outcome, Round
from guestloop.workloads.catalog import AXES, all_cells

MODES = (Mmu.TDP, Mmu.DIRECT, Mmu.SHADOW)
CELLS = tuple(Cell("asyncpf", mmu, {"load": "read-shared"}) for mmu in MODES)
TEST_FILE = """\
from guestloop.testing import GuestTest


class Found(GuestTest):
    \"\"\":avocado: tags=asyncpf,load:read-shared\"\"\"

    def test(self) -> None: ...
"""


def make_plan(rounds: int = 2, further: tuple[str, ...] = ()) -> Plan:
    first = PlannedKernel("unpatched", "6.12.117", "linux-source-6.12", (), "a" * 64, Reach(), BUILT)
    second = replace(first, name="patched", sha256="b" * 64, reach=Reach((Mmu.SHADOW,), "because"))
    kernels = Kernels(first, (second, *(replace(second, name=name) for name in further)))
    return Plan("default", "tcg", {"cpus": "2"}, kernels, CELLS, (rounds,), ("one", "two"))


# --- discovery -------------------------------------------------------------------------------------


def classes_in_tests() -> set[str]:
    """What a reader takes for tests: classes in tests/ that derive from GuestTest, also through another.

    A name that begins with an underscore is a base for others and has no test of its own.
    """
    bases = {
        (path, node.name): {base.id for base in node.bases if isinstance(base, ast.Name)}
        for path in (REPOSITORY / "tests").rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    known = {"GuestTest"}
    while more := {name for (_, name), of in bases.items() if of & known} - known:
        known |= more
    return {f"{path}:{name}" for path, name in bases if name in known and not name.startswith("_")}


found_tests = cache(find_tests)  # where none is changed: discovery takes a quarter of a second


def test_avocado_discovers_every_test_class() -> None:
    found = {runnable.uri.rpartition(".")[0] for runnable in found_tests().values()}
    assert found == classes_in_tests() and found


def test_every_cell_has_a_test() -> None:
    """A class whose tags name no value of the first axis is for all of them."""
    values = {(cell.test, next(iter(cell.variant.values()))) for cell in all_cells()}
    found = found_tests().keys()
    assert not values - found, "no test class in tests/ is for these: tag one"
    assert not found - values


def test_a_class_without_a_value_is_for_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "all.py").write_text(TEST_FILE.replace("asyncpf,load:read-shared", "aging"))
    found = find_tests(tmp_path)
    assert {value for _, value in found} == set(AXES["aging"]["driver"])
    assert len({runnable.uri for runnable in found.values()}) == 1


@pytest.mark.parametrize("tags", ["asyncpf", "asyncpf,load:read-shared"])
def test_two_tests_for_the_same_value_are_refused(tmp_path: Path, tags: str) -> None:
    """One of them would never run."""
    (tmp_path / "one.py").write_text(TEST_FILE)
    (tmp_path / "two.py").write_text(TEST_FILE.replace("asyncpf,load:read-shared", tags))
    with pytest.raises(LabError, match=r"two tests for asyncpf/read-shared: .*one\.py.* and .*two\.py"):
        find_tests(tmp_path)


NEW_DRIVER = """\
from guestloop.workloads.aging.driver import Sizes
from guestloop.workloads.aging.drivers.page_idle import PageIdle
from guestloop.workloads.aging.driver import Driver


class OneMore(Driver):
    name = "one-more"
    huge = Sizes(128, 288, 17)
    lacks, scan = PageIdle.lacks, PageIdle.scan
"""


def test_a_new_aging_driver_is_one_file(tmp_path: Path) -> None:
    """Its cells are there without another line anywhere, and by the test above so is the test for them."""
    package = tmp_path / "guestloop"
    shutil.copytree(REPOSITORY / "src/guestloop", package, copy_function=os.symlink)
    (package / "workloads/aging/drivers/one_more.py").write_text(NEW_DRIVER)
    program = "from guestloop.workloads.catalog import AXES; print(*AXES['aging']['driver'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert sorted(done.stdout.split()) == sorted([*AXES["aging"]["driver"], "one-more"]), done.stderr


def test_a_class_whose_base_cannot_be_resolved_is_dropped_without_a_word(tmp_path: Path) -> None:
    """Why the two tests above are there: Avocado reads a file and does not import it."""
    (tmp_path / "good.py").write_text(TEST_FILE)
    assert len(find_tests(tmp_path)) == 1
    (tmp_path / "good.py").write_text(TEST_FILE.replace("guestloop.testing", "guestloop.testings"))
    with pytest.raises(LabError, match=f"Avocado discovers no test in {tmp_path}") as raised:
        find_tests(tmp_path)
    assert "avocado list" in raised.value.hint


def test_a_test_with_wrong_tags_is_refused(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(TEST_FILE.replace("read-shared", "read-sharde"))
    with pytest.raises(ConfigError, match="unknown load 'read-sharde'"):
        find_tests(tmp_path)


def test_what_a_slot_says_is_what_its_test_is_given() -> None:
    found = found_tests()
    runnable = _with_parameters(found, Slot(CELLS[2], "patched", 2, repeats=1, probed=True), fresh_boots=True)
    seen = parameters(runnable.variant)
    assert seen == {
        "load": "read-shared",
        "mmu": "shadow",
        "kernel": "patched",
        "round": "2",
        "repeats": "1",
        "fresh_boot": "yes",
        "probe_changed": "yes",
    }
    assert runnable.variant["variant_id"] == "asyncpf/shadow/read-shared-patched-2"
    assert runnable.uri.endswith("storm.py:SharedReadOnlyPages.test")
    assert runnable is not found["asyncpf", "read-shared"]
    unknown = Slot(Cell("asyncpf", Mmu.TDP, {"load": "dance"}), "patched", 1)
    with pytest.raises(LabError, match="no Avocado test is tagged for cell asyncpf/tdp/dance"):
        _with_parameters(found, unknown, fresh_boots=False)


def runnables(*files: str) -> list[Runnable]:
    """The tests of the repository, as a job has them; with a YAML file, once for each of its variants."""
    return deepcopy(_resolved(*files))


@cache
def _resolved(*files: str) -> list[Runnable]:
    config = {"resolver.references": [str(REPOSITORY / "tests")], "yaml_to_mux.files": list(files)}
    return list(suite.TestSuite.from_config(config, name="selftest").tests)


class FakeJob:
    """A job of Avocado's, as far as the plugin has to do with it."""

    def __init__(self, tests: list[Runnable]) -> None:
        self.test_suites = [SimpleNamespace(tests=tests, config={})]


def test_a_job_measures_every_value_on_every_kernel_and_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``avocado run -m avocado.yaml -- tests/`` does, in a lab that is there already."""
    monkeypatch.setenv(SOCKET_VARIABLE, "somebody's")
    job = FakeJob(runnables(str(REPOSITORY / "avocado.yaml")))
    LabForJob().pre(job)
    cells, kernels = planned(job)
    usual = [cell.id for cell in all_cells() if len(cell.usual) == len(cell.variant) - 1]
    assert sorted(cell.id for cell in cells) == sorted(usual)
    assert kernels == ["unpatched", "patched"]
    (suite,) = job.test_suites
    assert len(suite.tests) == len(usual) * len(kernels)
    assert len({(runnable.uri, runnable.variant["variant_id"]) for runnable in suite.tests}) == len(
        suite.tests
    )


def test_the_rounds_of_a_job_are_those_that_its_tests_are_given() -> None:
    one, other = runnables()[:2]
    assert last_round(FakeJob([one, other])) == 1
    pairs = [["/run", [["/run", "round", "3"]]]]
    other.variant = {"variant": pairs, "variant_id": "r3", "paths": ["/run/*"]}
    assert last_round(FakeJob([one, other])) == 3
    assert last_round(FakeJob([])) == 1


def given(runnable: Runnable, *names: str) -> list[str]:
    """Parameters as the test gets them from Avocado."""
    nodes, paths = AvocadoInstrumentedTestRunner._create_params(runnable)
    return [AvocadoParams(nodes, paths, "selftest").get(name) for name in names]


@pytest.mark.parametrize("file", ["", str(REPOSITORY / "avocado.yaml")])
def test_a_test_is_given_the_value_that_it_is_made_for(file: str) -> None:
    (scans, *_) = [item for item in runnables(*filter(None, [file])) if "scans.py" in item.uri]
    made = one_of_each_value(scans)
    assert [given(item, "driver")[0] for item in made] == list(AXES["aging"]["driver"])
    if file:
        assert given(made[0], "kernel", "mmu") == ["unpatched", "tdp"], "what it was given before stays"
    assert one_of_each_value(made[0]) == [made[0]], "once is enough"


def test_tests_of_one_value_and_of_others_stay_as_they_are() -> None:
    (storm, *_) = [item for item in runnables() if "storm.py" in item.uri]
    assert one_of_each_value(storm) == [storm]
    foreign = Runnable("exec-test", "/bin/true")
    assert one_of_each_value(foreign) == [foreign]


def test_parameters_of_no_variant() -> None:
    assert parameters(None) == {}
    dumped = {"variant": [["/run/kernels/a", [["/run/kernels/a", "kernel", "a"], ["/run", "mmu", "tdp"]]]]}
    assert parameters(dumped) == {"kernel": "a", "mmu": "tdp"}


def test_plain_avocado_takes_kernels_by_name() -> None:
    """Its tests ask the lab for a kernel by the parameter, and results are stored by the name."""
    assert [spec.name for spec in load_named(["unpatched", "patched"])] == ["unpatched", "patched"]
    for argument in ("deb:6.12-amd64", "./linux"):
        with pytest.raises(ConfigError, match=f"parameter kernel: '{argument}': only the name of a file"):
            load_named(["unpatched", argument])


def test_plain_avocado_compares_two_kernels() -> None:
    with pytest.raises(ConfigError, match=r"^parameter kernel: two or more .* seen: unpatched$") as caught:
        load_named(["unpatched"])
    assert "avocado run -m avocado.yaml" in (caught.value.hint or "")


# --- kernels and directories -----------------------------------------------------------------------


def test_labels() -> None:
    a, b = load_kernel("unpatched"), load_kernel("patched")
    assert labels((a, b)) == ("unpatched", "patched")
    assert labels((a, a)) == ("unpatched", "unpatched.2"), "an A/A run has two results all the same"
    assert labels((a, b, a, b, a)) == ("unpatched", "patched", "unpatched.2", "patched.2", "unpatched.3")
    odd = replace(a, name="unpatched.2")
    assert labels((a, odd, a)) == ("unpatched", "unpatched.2", "unpatched.3"), "no two are called the same"


@pytest.mark.parametrize("names", [(), ("patched",)])
def test_fewer_than_two_kernels_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="--kernels: two or more kernels were wanted"):
        load_kernels(names)


def test_any_number_of_kernels_is_loaded_the_reference_first() -> None:
    names = ("unpatched", "patched", "unpatched")
    assert [spec.name for spec in load_kernels(names)] == list(names)
    with pytest.raises(ConfigError, match="unknown kernel 'pached'"):
        load_kernels((*names, "pached"))


def test_kernels_that_exist_are_labelled_as_they_were_named(tmp_path: Path) -> None:
    """Nothing of them is looked at: none of these exist."""
    arguments = ("deb:6.18@trixie-backports", f"{tmp_path}/linux", "patched", "deb:6.18@trixie-backports")
    names = labels(load_kernels(arguments))
    assert names == ("6.18-trixie-backports", "linux", "patched", "6.18-trixie-backports.2")


@pytest.mark.parametrize("further", [(), ("third", "fourth")])
def test_plan_survives_being_stored_and_is_not_replaced(tmp_path: Path, further: tuple[str, ...]) -> None:
    write_plan(tmp_path, make_plan(further=further))
    assert read_plan(tmp_path) == make_plan(further=further)
    with pytest.raises(FileExistsError):
        write_plan(tmp_path, make_plan(rounds=9))
    assert read_plan(tmp_path).rounds == 2


def test_results_are_never_mixed(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    assert new_directory(out) == out and out.is_dir()
    assert new_directory(out) == out, "there is nothing in it yet"
    (out / "rounds").mkdir()
    with pytest.raises(ConfigError, match="there are results in it already"):
        new_directory(out)
    (out / "rounds").rmdir()
    (out / PLAN_FILE).write_text("{}")
    with pytest.raises(ConfigError, match="there are results in it already"):
        new_directory(out)


def test_runs_in_the_same_second_get_directories_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda _format: "20260101-000000")
    made = [new_directory(None) for _ in range(3)]
    assert [path.name for path in made] == ["20260101-000000", "20260101-000000.2", "20260101-000000.3"]
    assert all(path.parent == tmp_path / "results" and path.is_dir() for path in made)


@pytest.mark.parametrize("named", [True, False])
def test_a_directory_that_cannot_be_made_is_named(
    named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("results").write_text("a file is in the way")
    with pytest.raises(ConfigError, match=r"--out results.*: .*results is not a directory"):
        new_directory(Path("results/mine") if named else None)


def test_a_directory_is_looked_at_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_directory(tmp_path / "a/b")
    with pytest.raises(ConfigError, match="File name too long"):
        check_directory(tmp_path / ("x" * 300))
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may do anything
    with pytest.raises(ConfigError, match=f"{tmp_path} cannot be written") as raised:
        check_directory(tmp_path / "a/b")
    assert "--out" in raised.value.hint and list(tmp_path.iterdir()) == []


# --- progress --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {"outcome": Outcome.MEASURED, "correctness": Correctness.PASS},
            "700 page_ready, 90 flush requests (async_page_ready 80), contents pass",
        ),
        ({"outcome": Outcome.INVALID, "reason": "no events\n  and more"}, "invalid: no events"),
        ({"outcome": Outcome.SKIPPED, "reason": "no MGLRU"}, "skipped: no MGLRU"),
        (
            {"outcome": Outcome.INVALID, "findings": (Finding(FindingKind.CONTENTS, "2 pages are wrong"),)},
            "wrong: 2 pages are wrong",
        ),
        ({"outcome": Outcome.INVALID, "correctness": Correctness.FAIL, "reason": ""}, "wrong: "),
    ],
)
def test_progress_says_in_one_line_what_came_of_a_round(fields: dict[str, Any], line: str) -> None:
    record = Round(
        cell=CELLS[0],
        kernel="patched",
        round=1,
        boot=1,
        event="page_ready",
        events={"page_ready": 700},
        counters={"remote_tlb_flush_requests": 90},
        paths={"async_page_ready": 80, "zap": 10},
        judged=("async_page_ready",),
        **fields,
    )
    assert summary(record) == line
