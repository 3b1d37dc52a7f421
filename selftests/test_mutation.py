# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/test --mutants: what is mutated, what is drawn, and what the trials of all come to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from guestloop.config import REPOSITORY
from guestloop.ground import proc
from guestloop.ground.errors import ConfigError
from mutation import command
from mutation.accepted import Accepted, read_accepted
from mutation.drawn import Possibility, draw
from mutation.mutants import Mutant, behaves_otherwise
from mutation.score import Score
from mutation.seeded import Patch, read_patches
from mutation.trial import Result

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
    assert SOURCE.count(old) == 1
    return Mutant("src/guestloop/least.py", SOURCE, SOURCE.replace(old, new), "changed", seeded)


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
    accepted = Accepted(made.path, "return LIMIT", "return  None", "never empty")
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

    found = list(find_possibilities("least.py", SOURCE.replace("items: list", "*, items: list")))
    assert 7 not in {item.line for item in found}, "a marker among parameters is no operator"
    found = list(find_possibilities("least.py", SOURCE))
    places = {(item.line, SOURCE.splitlines()[item.line - 1][item.column :]) for item in found}
    assert {(3, "3"), (9, "not items:")} <= places
    changed = [mutate_by_tool(SOURCE, item) for item in found]
    assert SOURCE.replace("LIMIT = 3", "LIMIT = 4") in changed
    assert all(text != SOURCE for text in changed)


def test_the_tool_is_installed_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(proc, "run", lambda command, **_: asked.append(command))
    monkeypatch.setattr(command, "find_spec", lambda _: "there")
    command.install_tool()
    assert asked == []
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    command.install_tool()
    (pip,) = asked
    assert pip[1:4] == ["-m", "pip", "install"] and pip[-1].startswith("cosmic-ray")


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
