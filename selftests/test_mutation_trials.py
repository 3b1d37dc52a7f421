# SPDX-License-Identifier: GPL-2.0-or-later
"""Mutants on trial: the copy of the tree that they live in, and which tests are asked about them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import conftest
import pytest

from guestloop.cache import Cache
from guestloop.config import REPOSITORY
from guestloop.ground.errors import LabError
from mutation import durations
from mutation.command import try_all
from mutation.executed import ENV_DATA, Executed, measure
from mutation.mutants import Mutant
from mutation.tree import Ended, Tree, digest
from mutation.trial import killer_of, run_trial

SOURCE = """from __future__ import annotations

LIMIT = 3


def least(
    items: list[int],
) -> int:
    if not items:
        return LIMIT
    return min(
        *items,
        LIMIT,
    )
"""


def mutant(old: str, new: str, *, seeded: bool = False) -> Mutant:
    return Mutant("src/guestloop/least.py", SOURCE, SOURCE.replace(old, new), "changed", seeded)


# --- the copy --------------------------------------------------------------------------------------

TESTS = """import pytest
from guestloop.least import least


def test_of_nothing():
    assert least([]) > 0


def test_of_one():
    assert least([2]) == 2
"""
OTHER = """from pathlib import Path

import guestloop.least


def test_text():
    assert "*items" in Path(guestloop.least.__file__).read_text()
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small project with the layout of this one, and results of runs that are no part of it."""
    top = tmp_path / "checkout"
    for directory in ("src/guestloop", "selftests", ".git", "results", ".venv/bin"):
        (top / directory).mkdir(parents=True)
    (top / "src/guestloop/__init__.py").write_text("")
    (top / "src/guestloop/least.py").write_text(SOURCE)
    (top / "selftests/test_least.py").write_text(TESTS)
    (top / "selftests/test_other.py").write_text(OTHER)
    (top / "results/plan.json").write_text("{}")
    shutil.copytree(REPOSITORY / "selftests/mutation", top / "selftests/mutation")
    shutil.copy(REPOSITORY / "pyproject.toml", top)
    return top


@pytest.fixture
def tree(checkout: Path, tmp_path: Path) -> Tree:
    return Tree.copy(checkout, tmp_path / "tree")


NEAR = "selftests/test_least.py::test_of_"
EXECUTED = Executed(
    {
        "src/guestloop/least.py": {
            9: frozenset({f"{NEAR}one", f"{NEAR}nothing"}),
            11: frozenset({f"{NEAR}one"}),
        }
    },
    {f"{NEAR}one": 0.1, f"{NEAR}nothing": 0.2, "selftests/test_other.py::test_text": 0.1},
)


def test_a_copy_has_what_tests_need(checkout: Path, tree: Tree) -> None:
    assert sorted(path.name for path in tree.top.iterdir()) == ["pyproject.toml", "selftests", "src"]
    assert (tree.top / "src/guestloop/least.py").read_text() == SOURCE
    first = digest(checkout)
    (checkout / "results/other.json").write_text("{}")
    assert digest(checkout) == first
    (checkout / "src/guestloop/least.py").write_text(SOURCE.replace("3", "4"))
    assert digest(checkout) != first


def test_a_mutant_is_gone_after_its_trial(checkout: Path, tree: Tree) -> None:
    file = tree.top / "src/guestloop/least.py"
    made = mutant("LIMIT = 3", "LIMIT = 4")
    with pytest.raises(KeyError), tree.holding(made):
        assert file.read_text() == made.after
        raise KeyError
    assert file.read_text() == made.before == (checkout / "src/guestloop/least.py").read_text()
    file.write_text("something else")
    with pytest.raises(LabError, match="was changed while mutants were on trial"), tree.holding(made):
        pass


def test_a_mutant_of_the_same_size_and_second_is_not_taken_from_a_cache(tree: Tree) -> None:
    """A cached module counts as current when the size of its source and its time in seconds agree."""
    made = mutant("LIMIT = 3", "LIMIT = 9")
    (tree.top / "selftests/show.py").write_text(
        "from guestloop.least import LIMIT\nraise SystemExit(LIMIT)\n"
    )
    seen = []
    for _ in range(2):
        seen.append(tree.run("show", timeout_s=30).status)
        with tree.holding(made):
            seen.append(tree.run("show", timeout_s=30).status)
    assert seen == [3, 9, 3, 9]


# --- a trial ---------------------------------------------------------------------------------------


def test_tests_that_execute_the_line_come_first_and_quick_ones_before() -> None:
    both = [f"{NEAR}one", f"{NEAR}nothing"]
    assert EXECUTED.tests_of(mutant("if not items", "if items")) == both
    assert EXECUTED.tests_of(mutant("        LIMIT,", "        5,")) == both[:1]
    assert EXECUTED.tests_of(mutant("LIMIT = 3", "LIMIT = 4")) == both, "executed when it was imported"
    assert EXECUTED.tests_of(Mutant("src/guestloop/new.py", "a = 1", "a = 2", "")) == []


@pytest.mark.parametrize(
    ("old", "new", "killer"),
    [
        ("if not items", "if items", f"{NEAR}one"),  # before the other that would fail
        ("*items", "*(items)", "selftests/test_other.py::test_text"),  # does not execute the line
        ("return min(", "while True:\n        min(", "a time limit"),
    ],
)
def test_who_notices(tree: Tree, monkeypatch: pytest.MonkeyPatch, old: str, new: str, killer: str) -> None:
    if killer == "a time limit":
        monkeypatch.setattr("mutation.tree.TEST_S", 0.3)
    result = run_trial(tree, mutant(old, new), EXECUTED)
    assert result.killers == (killer,) and not result.survived


def test_a_seeded_mutant_may_be_rejected_by_mypy(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(self: Tree, *arguments: str, **_: object) -> Ended:
        asked.append(arguments[0])
        return Ended(1 if arguments[0] == "mypy" else 0, "")

    monkeypatch.setattr(Tree, "run", run)
    assert run_trial(tree, mutant("3", "4", seeded=True), EXECUTED).killers == ("mypy",)
    assert asked == ["pytest", "pytest", "mypy"], "the tests are asked first"
    assert run_trial(tree, mutant("3", "4"), EXECUTED).survived, "types are no test of a drawn mutant"


def test_a_survivor_that_was_accepted_is_not_tried_by_all(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def run(self: Tree, *arguments: str, **_: object) -> Ended:
        asked.append(arguments)
        return Ended(0, "")

    monkeypatch.setattr(Tree, "run", run)
    survivor = mutant("if not items", "if items")
    assert run_trial(tree, survivor, EXECUTED, accepted=True).survived
    assert len(asked) == 1
    assert run_trial(tree, survivor, EXECUTED).survived
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("ended", "killer"),
    [
        (Ended(0, "3 passed"), ""),
        (Ended(None, "still running after 30 s"), "a time limit"),
        (Ended(1, "...Timeout (0:01:00)!\nThread 0x00007f (most recent call first):\n"), "a time limit"),
        (
            Ended(1, "...\nFAILED selftests/test_a.py::test_b[a b] - assert 1\n"),
            "selftests/test_a.py::test_b[a b]",
        ),
        (Ended(1, "FAILED selftests/test_a.py::test_b\n"), "selftests/test_a.py::test_b"),
        (Ended(2, "ERROR selftests/test_a.py - NameError\n"), "selftests/test_a.py"),
        (Ended(-11, ""), "the end of pytest with -11"),
    ],
)
def test_what_counts_as_noticed(ended: Ended, killer: str) -> None:
    assert killer_of(ended) == killer


@pytest.mark.parametrize("status", [3, 5])
def test_a_broken_pytest_is_no_proof(status: int) -> None:
    with pytest.raises(LabError, match=f"pytest ended with {status}"):
        killer_of(Ended(status, "INTERNALERROR"))


def stand_in_for_pytest(self: Tree, *arguments: str, **_: object) -> Ended:
    """Fails where the tree has a mutant that some test would notice; starting pytest takes a second."""
    text = (self.top / "src/guestloop/least.py").read_text()
    return Ended(1, "FAILED test_it") if "if items" in text else Ended(0, "")


def test_a_mutant_on_which_pytest_breaks_was_not_noticed(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tree, "run", lambda *_, **__: Ended(3, "INTERNALERROR> SystemError"))
    result = run_trial(tree, mutant("3", "4"), EXECUTED)
    assert result.survived and result.line.endswith("SURVIVED (pytest ended with 3)")


def test_all_mutants_are_tried_and_come_back_in_order(
    tree: Tree, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tree, "run", stand_in_for_pytest)
    trees = [tree, Tree.copy(checkout, tmp_path / "second")]
    mutants = [mutant("= 3", f"= {number}") for number in range(4, 9)]
    mutants.insert(2, mutant("if not items", "if items"))
    results = try_all(trees, mutants, EXECUTED)
    assert [result.mutant for result in results] == mutants
    assert [result.survived for result in results] == [True, True, False, True, True, True]


def test_tests_that_fail_anyway_are_an_error(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tree, "run", lambda *_, **__: Ended(1, "FAILED test_it"))
    with pytest.raises(LabError, match="without any mutant:\nFAILED test_it"):
        try_all([tree], [mutant("LIMIT = 3", "LIMIT = 4")], EXECUTED)


def test_an_error_in_a_thread_ends_all(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tree, "run", stand_in_for_pytest)
    strange = Mutant("src/guestloop/least.py", "other text", "other text", "")
    with pytest.raises(LabError, match="was changed while"):
        try_all([tree], [strange], EXECUTED)


def test_which_tests_execute_a_line_is_measured_once(
    tree: Tree, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mutation.executed.WORKERS", 1)
    cache = Cache(tmp_path / "cache")
    seen = measure(checkout, tree, cache)
    lines = seen.tests["src/guestloop/least.py"]
    assert lines[10] == {f"{NEAR}nothing"} and lines[9] == {f"{NEAR}one", f"{NEAR}nothing"}
    assert 3 not in lines, "executed by no test, but when the module is imported"
    assert set(seen.seconds) == {f"{NEAR}one", f"{NEAR}nothing", "selftests/test_other.py::test_text"}
    (tree.top / "selftests/test_least.py").write_text("def test_of_one():\n    assert False\n")
    assert measure(checkout, tree, cache) == seen


def test_what_a_measuring_pytest_is_told_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests see nothing of the environment but what they need."""
    told = {durations.VARIABLE: "seconds", ENV_DATA: "data"}
    monkeypatch.setattr(os, "environ", {**told, "GIT_DIR": "/elsewhere"})
    conftest.forget_settings()
    assert os.environ == told


def test_nothing_is_measured_when_tests_fail_anyway(
    tree: Tree, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tree, "run", lambda *_, **__: Ended(1, "FAILED selftests/test_least.py"))
    with pytest.raises(LabError, match=r"fast tests must pass before mutants are tried:\nFAILED"):
        measure(checkout, tree, Cache(tmp_path / "cache"))
