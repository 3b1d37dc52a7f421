"""scripts/test --mutants: what is mutated, that the copy alone is, and what counts as noticed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from guestloop.cache import Cache
from guestloop.config import REPOSITORY
from guestloop.ground.errors import ConfigError, LabError
from mutation.accepted import Accepted, read_accepted
from mutation.command import try_all
from mutation.drawn import Possibility, draw
from mutation.executed import Executed, measure
from mutation.mutants import Mutant, behaves_otherwise
from mutation.score import Score
from mutation.seeded import Patch, read_patches
from mutation.tree import Ended, Tree, digest
from mutation.trial import Result, killer_of, run_trial

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


def mutant(old: str, new: str, *, source: str = SOURCE, seeded: bool = False) -> Mutant:
    assert source.count(old) == 1
    return Mutant("src/guestloop/least.py", source, source.replace(old, new), "changed", seeded)


# --- a mutant --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "lines", "statements", "change"),
    [
        ("LIMIT = 3", "LIMIT = 4", [3], {3}, ("LIMIT = 3", "LIMIT = 4")),
        ("        LIMIT,\n", "        LIMIT + 1,\n", [13], {11, 12, 13, 14}, ("LIMIT,", "LIMIT + 1,")),
        ("if not items", "if items", [9], {9}, ("if not items:", "if items:")),
        ("    items: list[int],", "    items: list[int] = [],", [7], {6, 7, 8}, None),
        (
            "    if not items:\n        return LIMIT\n",
            "",
            [9, 10],
            {9, 10},
            ("if not items:\nreturn LIMIT", ""),
        ),
        ("\n\ndef", "\nOTHER = 5\n\ndef", [5], {5}, ("", "OTHER = 5\n")),
    ],
)
def test_what_a_mutant_changes(
    old: str, new: str, lines: list[int], statements: set[int], change: tuple[str, str] | None
) -> None:
    made = mutant(old, new)
    assert list(made.lines) == lines
    assert made.statements == statements, "the lines that are executed when the mutated one is"
    assert change in (None, made.change)
    assert made.where == f"src/guestloop/least.py:{lines[0]}"


def test_a_diff_shows_both_lines() -> None:
    lines = mutant("LIMIT = 3", "LIMIT = 4").diff.splitlines()
    assert "-LIMIT = 3" in lines and "+LIMIT = 4" in lines


@pytest.mark.parametrize(
    ("old", "new", "otherwise"),
    [
        ("LIMIT = 3", "LIMIT = 4", True),
        ("LIMIT = 3", "LIMIT =  3", False),
        ("LIMIT = 3", "LIMIT = = 3", False),
        ("list[int]", "list[str]", False),
        (") -> int", ") -> str", False),
        ("LIMIT = 3", "LIMIT: int = 3", True),
    ],
)
def test_what_can_be_noticed_at_all(old: str, new: str, otherwise: bool) -> None:
    assert behaves_otherwise(SOURCE, SOURCE.replace(old, new)) is otherwise


def test_annotations_of_fields_are_not_run() -> None:
    assert not behaves_otherwise("class A:\n    a: int | None = 1\n", "class A:\n    a: int + None = 1\n")


# --- seeded, and accepted --------------------------------------------------------------------------


@pytest.mark.parametrize("patch", read_patches(), ids=lambda patch: patch.what)
def test_each_seeded_mutant_is_of_the_code_as_it_is(patch: Patch) -> None:
    made = patch.apply(REPOSITORY)
    assert made.seeded and behaves_otherwise(made.before, made.after)


def test_each_accepted_survivor_is_of_the_code_as_it_is() -> None:
    for accepted in read_accepted():
        assert accepted.is_in(REPOSITORY), f"remove it from accepted.toml, its lines are gone: {accepted}"
        assert accepted.reason and accepted.old != accepted.new


@pytest.mark.parametrize(("text", "count"), [("a = 1\n", 0), ("b = 1\nb = 1\n", 2)])
def test_a_seeded_mutant_whose_text_is_gone_is_an_error(tmp_path: Path, text: str, count: int) -> None:
    (tmp_path / "code.py").write_text(text)
    with pytest.raises(ConfigError, match=f"its text is in code.py {count} times, once was wanted"):
        Patch("code.py", "b = 1\n", "b = 2\n", "another b").apply(tmp_path)


def test_an_accepted_survivor_is_known_by_its_lines() -> None:
    made = mutant("        return LIMIT\n", "        return None\n")
    accepted = Accepted(made.path, "return LIMIT", "return None", "never empty")
    assert accepted.means(made)
    assert not accepted.means(mutant("        return LIMIT\n", "        return 0\n"))
    assert not Accepted("src/other.py", "return LIMIT", "return None", "").means(made)


# --- drawn at random -------------------------------------------------------------------------------

FILES = {"one.py": "a = 1\nb = 2\nb = 2\n", "two.py": "c = 3\nd: int = 4\n"}


def possibilities(files: dict[str, str]) -> list[Possibility]:
    """For each number in a file: it can be made larger or smaller; an annotation can be made another."""
    found = []
    for path, text in files.items():
        for number, line in enumerate(text.splitlines(), 1):
            column = re.search(r"\d", line)
            assert column
            for occurrence, name in enumerate(("tool/Larger", "tool/Smaller")):
                found.append(Possibility(path, number, column.start(), name, occurrence))
            if ": int" in line:
                found.append(Possibility(path, number, line.index("int"), "tool/Annotation", 0))
    return found


def mutate(source: str, possibility: Possibility) -> str:
    lines = source.splitlines(keepends=True)
    line = lines[possibility.line - 1]
    change = {"tool/Larger": "9", "tool/Smaller": "0"}.get(possibility.operator)
    lines[possibility.line - 1] = re.sub(r"\d", change, line) if change else line.replace("int", "str")
    return "".join(lines)


def drawn(files: dict[str, str], count: int = 99, seed: int = 1) -> list[Mutant]:
    return draw(possibilities(files), files, mutate, count, seed)


def test_each_place_is_drawn_once_and_annotations_never() -> None:
    made = drawn(FILES)
    assert sorted(item.where for item in made) == ["one.py:1", "one.py:2", "one.py:3", "two.py:1", "two.py:2"]
    assert {item.what for item in made} == {"Larger", "Smaller"}


def test_the_seed_decides_what_is_drawn() -> None:
    assert drawn(FILES, 3) == drawn(FILES)[:3]
    assert len({tuple(drawn(FILES, seed=seed)) for seed in range(10)}) > 5


def test_another_file_changes_and_this_one_is_drawn_as_before() -> None:
    moved = FILES | {"two.py": "\n\n" + "x = 7\n" + FILES["two.py"]}
    moved["two.py"] = moved["two.py"].replace("\n\n", "y = 8\nz = 9\n", 1)
    before = [(item.path, *item.change) for item in drawn(FILES)]
    after = [(item.path, *item.change) for item in drawn(moved)]
    assert [change for change in after if change in before] == before


def test_the_tool_finds_what_it_can_then_apply() -> None:
    """cosmic-ray itself, where it is installed; scripts/test --mutants does not run without it."""
    pytest.importorskip("cosmic_ray", reason="scripts/test --mutants installs cosmic-ray")
    from mutation.operators import find_possibilities
    from mutation.operators import mutate as mutate_by_tool

    found = list(find_possibilities("least.py", SOURCE))
    places = {(item.line, SOURCE.splitlines()[item.line - 1][item.column :]) for item in found}
    assert {(3, "3"), (9, "not items:")} <= places
    changed = [mutate_by_tool(SOURCE, item) for item in found]
    assert SOURCE.replace("LIMIT = 3", "LIMIT = 4") in changed
    assert all(text != SOURCE for text in changed)


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
        ("LIMIT = 3", "LIMIT = oops", "selftests/test_least.py"),  # cannot be imported
        ("LIMIT = 3", "LIMIT = 4", ""),
    ],
)
def test_who_notices(tree: Tree, old: str, new: str, killer: str) -> None:
    result = run_trial(tree, mutant(old, new), EXECUTED)
    assert result.killers == ((killer,) if killer else ())
    assert result.survived is not bool(killer)


def test_a_seeded_mutant_may_be_rejected_by_mypy(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(self: Tree, *arguments: str, **_: object) -> Ended:
        asked.append(arguments[0])
        return Ended(1 if arguments[0] == "mypy" else 0, "")

    monkeypatch.setattr(Tree, "run", run)
    assert run_trial(tree, mutant("3", "4", seeded=True), EXECUTED).killers == ("mypy",)
    assert asked == ["mypy", "pytest", "pytest"], "the tests are asked as well"
    assert run_trial(tree, mutant("3", "4"), EXECUTED).survived, "types are no test of a drawn mutant"


@pytest.mark.parametrize(
    ("ended", "killer"),
    [
        (Ended(0, "3 passed"), ""),
        (Ended(None, "still running after 30 s"), "a time limit"),
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


def test_all_mutants_are_tried_and_come_back_in_order(tree: Tree, checkout: Path, tmp_path: Path) -> None:
    trees = [tree, Tree.copy(checkout, tmp_path / "second")]
    mutants = [mutant("LIMIT = 3", "LIMIT = 4"), mutant("if not items", "if items")]
    results = try_all(trees, mutants, EXECUTED)
    assert [result.mutant for result in results] == mutants
    assert [result.survived for result in results] == [True, False]


def test_tests_that_fail_anyway_are_an_error(tree: Tree) -> None:
    (tree.top / "selftests/test_least.py").write_text("def test_of_one():\n    assert False\n")
    with pytest.raises(LabError, match="without any mutant"):
        try_all([tree], [mutant("LIMIT = 3", "LIMIT = 4")], Executed({}, {f"{NEAR}one": 0.1}))


def test_an_error_in_a_thread_ends_all(tree: Tree) -> None:
    strange = Mutant("src/guestloop/least.py", "other text", "other text", "")
    with pytest.raises(LabError, match="was changed while"):
        try_all([tree], [strange], EXECUTED)


def test_which_tests_execute_a_line_is_measured_once(tree: Tree, checkout: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    seen = measure(checkout, tree, cache)
    lines = seen.tests["src/guestloop/least.py"]
    assert lines[10] == {f"{NEAR}nothing"} and lines[9] == {f"{NEAR}one", f"{NEAR}nothing"}
    assert 3 not in lines, "executed by no test, but when the module is imported"
    assert set(seen.seconds) == {f"{NEAR}one", f"{NEAR}nothing", "selftests/test_other.py::test_text"}
    (tree.top / "selftests/test_least.py").write_text("def test_of_one():\n    assert False\n")
    assert measure(checkout, tree, cache) == seen


def test_nothing_is_measured_when_tests_fail_anyway(
    tree: Tree, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tree, "run", lambda *_, **__: Ended(1, "FAILED selftests/test_least.py"))
    with pytest.raises(LabError, match=r"fast tests must pass before mutants are tried:\nFAILED"):
        measure(checkout, tree, Cache(tmp_path / "cache"))


# --- the score -------------------------------------------------------------------------------------


def results(killed: int, survived: int, *, seeded: bool = False) -> list[Result]:
    made = mutant("LIMIT = 3", "LIMIT = 4", seeded=seeded)
    return [Result(made, ("a test",))] * killed + [Result(made, ())] * survived


@pytest.mark.parametrize(
    ("found", "percent", "good"),
    [
        (results(9, 1), 90.0, True),
        (results(89, 11), 89.0, False),
        (results(9, 1) + results(8, 0, seeded=True), 90.0, True),
        (results(10, 0) + results(7, 1, seeded=True), 100.0, False),
        (results(1, 0, seeded=True), 100.0, True),
    ],
)
def test_the_score(found: list[Result], percent: float, good: bool) -> None:
    score = Score(found)
    assert (score.percent, score.good) == (percent, good)


def test_survivors_are_shown_with_reasons_and_still_count() -> None:
    score = Score(results(1, 1) + results(1, 0, seeded=True))
    text = score.render([])
    assert "seeded: 1 of 1 killed" in text and "drawn: 1 of 2 killed (50.0 %), 90 % are wanted" in text
    assert "src/guestloop/least.py:3: changed: SURVIVED" in text and "+LIMIT = 4" in text
    assert "write a test that notices it, or add it to accepted.toml" in text
    accepted = Accepted("src/guestloop/least.py", "LIMIT = 3", "LIMIT = 4", "any limit will do")
    assert "accepted: any limit will do" in score.render([accepted])
    assert not score.good
