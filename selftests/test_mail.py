# SPDX-License-Identifier: GPL-2.0-or-later
"""The mail: 40 lines of 75 columns that can be pasted under a patch, whatever the result.

``python selftests/test_mail.py`` accepts what is rendered now: it writes the golden file anew.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from formats import SENDER, judged, material
from test_report import B, make_result, make_result_of_three

from guestloop.compare import Change, Kind, Status
from guestloop.report.fitting import Section, columns, fitted, wrapped
from guestloop.report.mail import MISSING, MOST_LINES, PLACEHOLDER, WIDTH, render_mail
from guestloop.report.material import Material
from guestloop.results.cells import Mmu
from guestloop.results.plan import MadeBy
from guestloop.results.provenance import PatchRecord, Provenance

GOLDEN = Path(__file__).parent / "data" / "mail.txt"
SUBJECT = "[PATCH v3 2/2] KVM: x86/mmu: Don't flush remote TLBs when an SPTE only loses Accessed"


def patched(made: Material, *subjects: str) -> Material:
    """The candidate has these patches."""
    patches = tuple(PatchRecord("0001.patch", subject, "d" * 64) for subject in subjects)
    kernel = replace(made.result.kernels[B], provenance=Provenance(patches=patches))
    return replace(made, result=replace(made.result, kernels={**made.result.kernels, B: kernel}))


def lines_of(made: Material) -> list[str]:
    return render_mail(made).splitlines()


def good() -> str:
    plan, verdict = make_result("fewer", "same", "cannot-differ", "skipped")
    plan = replace(
        plan,
        arguments=("run", "0001 fix.patch", "--out", "x"),
        directory="/src",
        started="2026-04-08T09:31:07+00:00",
        made_by=MadeBy("0.1.0", "9dddd95a1c2b" + "0" * 28),
    )
    return render_mail(patched(material(plan, verdict), SUBJECT))


def test_a_good_patch_matches_the_golden_file() -> None:
    assert good() == GOLDEN.read_text()


def test_a_broken_one_says_what_was_found_and_is_reported() -> None:
    plan, verdict = make_result("broken", "more")
    lines = lines_of(material(plan, verdict))
    assert lines[0].startswith("guestloop: regression: 1 cell broken, 1 cell with more")
    assert lines[-1] == f"Reported-by: {SENDER}" and not any("Tested-by" in line for line in lines)
    at = next(
        number for number, line in enumerate(lines) if line.startswith("broken, asyncpf/direct/read-own:")
    )
    assert "wrong on patched in 2 of 2 rounds, right on unpatched" in " ".join(lines[at : at + 2])


def test_without_a_sender_there_is_a_placeholder() -> None:
    made = replace(material(*make_result("same")), sender="")
    assert lines_of(made)[-1] == f"Tested-by: {PLACEHOLDER}"


@pytest.mark.parametrize("kind", [Kind.RELEASES, Kind.CONFIGURATION, Kind.IDENTICAL])
def test_what_is_no_series_earns_no_tag(kind: Kind) -> None:
    made = material(*make_result("same"))
    kernel = replace(made.result.kernels[B], kind=kind)
    made = replace(made, result=replace(made.result, kernels={**made.result.kernels, B: kernel}))
    assert lines_of(made)[-1] == "(no tag: no patch was compared with what it is made to)"
    assert any(line.startswith("B  ") for line in lines_of(made))


def test_a_move_that_the_series_may_make_is_no_obstacle() -> None:
    plan, verdict = judged("moved", "same")
    assert "no tag" in lines_of(material(plan, verdict))[-1]
    first = verdict.cells[0]
    allowed = replace(first, candidates={B: replace(first.candidates[B], accepted=True)})
    made = material(plan, replace(verdict, cells=(allowed, verdict.cells[1])))
    assert lines_of(made)[-1] == f"Tested-by: {SENDER}"


def wide(made: Material) -> Material:
    return patched(made, "修正 " * 60, *["another"] * 30)


def many(number: int, status: str) -> Material:
    """Valid, as fewer cells with these statuses are: to look at so many takes as long as all other tests."""
    return material(*judged(*[status] * number, "same", "skipped", "inconclusive"), valid=True)


def long(made: Material) -> Material:
    plan = {f"fact {number}": "x" * 90 for number in range(9)}
    left = tuple(f"{number} {'word ' * 40}" for number in range(30))
    return replace(
        made,
        sender="Jane " * 40 + "<jane@example.org>",
        result=replace(made.result, host=plan | {"cpu": "Xeon " * 40}, left_out=left, summary="word " * 200),
    )


def with_further_kernels(made: Material) -> Material:
    """The candidate four more times, under names of their own."""
    result, names = made.result, [B, *(f"another-{number}" for number in range(4))]
    kernel = result.kernels[B]
    cells = [replace(cell, candidates=dict.fromkeys(names, cell.candidates[B])) for cell in result.cells]
    kernels = {**result.kernels, **{name: replace(kernel, name=name) for name in names}}
    return replace(made, result=replace(result, kernels=kernels, cells=tuple(cells)))


def test_of_many_kernels_the_first_ones_are_told_and_the_others_named() -> None:
    text = render_mail(with_further_kernels(long(material(*judged("broken", "more", "fewer")))))
    assert "\nD  " in text and "and 2 more kernels" in text
    assert MISSING in text and "changed: count" in text


def test_a_cell_that_cannot_differ_shows_no_change_of_the_patch() -> None:
    made = material(*judged("fewer"))
    assert "changed: count" in render_mail(made)
    (cell,) = made.result.cells
    candidate = replace(cell.candidates[B], status=Status.CANNOT_DIFFER)
    cells = (replace(cell, candidates={B: candidate}),)
    text = render_mail(replace(made, result=replace(made.result, cells=cells)))
    assert "changed" not in text.partition("cells:")[2]


@pytest.mark.parametrize(("ratio", "rows"), [(0.0025, ["2 direct,shadow"]), (0.8, ["1 shadow", "1 direct"])])
def test_what_changed_unlike_in_two_mmu_modes_has_a_row_for_each(ratio: float, rows: list[str]) -> None:
    made = material(*judged("fewer"))
    (cell,) = made.result.cells
    fewer = Change.FEWER
    figures = tuple(
        replace(one, ratio=0.0024 if one.change is fewer else one.ratio) for one in cell.candidates[B].figures
    )
    shadow = replace(cell, candidates={B: replace(cell.candidates[B], figures=figures)})
    changed = tuple(replace(one, ratio=ratio if one.change is fewer else one.ratio) for one in figures)
    direct = replace(
        cell,
        cell=replace(cell.cell, mmu=Mmu.DIRECT),
        candidates={B: replace(cell.candidates[B], figures=changed)},
    )
    text = render_mail(replace(made, result=replace(made.result, cells=(shadow, direct))))
    found = [line for line in text.splitlines() if line.startswith(" async_page_ready /")]
    assert [" ".join(line.split()[-2:]) for line in found] == rows


@pytest.mark.parametrize(
    "make",
    [
        lambda: with_further_kernels(long(many(20, "more"))),
        lambda: with_further_kernels(many(20, "fewer")),
        *(partial(many, 60, status) for status in Status),
        lambda: wide(many(3, "broken")),
        lambda: long(many(20, "more")),
        lambda: long(material(*make_result_of_three())),
        lambda: long(material(*judged())),
    ],
)
def test_it_fits_whatever_there_is_to_say(make: Callable[[], Material]) -> None:
    lines = lines_of(make())
    assert len(lines) <= MOST_LINES
    assert max(map(columns, lines)) <= WIDTH
    assert lines[0].startswith("guestloop: ") and lines[-1].lstrip("(").startswith(
        ("Tested-by", "Reported-by", "no tag", "not for the list")
    )


def command_of(*arguments: str) -> str:
    plan, verdict = make_result("same")
    text = render_mail(material(replace(plan, arguments=("run", *arguments), directory="/src"), verdict))
    return text.partition("repeat: ")[2].partition("\n\n")[0]


def test_the_command_can_be_pasted() -> None:
    words = [
        "--git",
        "/home/jane doe/linux",
        "a..b",
        "--tests",
        "asyncpf,migration",
        "--budget",
        "20m",
        "it's",
    ]
    said = command_of(*words).rpartition("\nguestloop")[0]
    assert " \\\n" in said
    assert shlex.split(said.replace("\\\n", "")) == ["scripts/run", *words]


@pytest.mark.parametrize("arguments", [("x" * 80,), ("a\nb",), ("\033[31m",), ("word " * 4,) * 20])
def test_a_command_that_would_not_survive_is_in_the_verdict_instead(arguments: tuple[str, ...]) -> None:
    assert "verdict.json" in command_of(*arguments).partition("\n")[0]


# --- fitting --------------------------------------------------------------------------------------


def test_text_is_wrapped_by_columns() -> None:
    assert wrapped("a bc def", 5) == ["a bc", "def"]
    assert wrapped("abcdefgh", 5, "- ") == ["- abc", "  def", "  gh"]
    assert wrapped("修正 修正", 6) == ["修正", "修正"]
    assert columns("e\u0301") == 1
    assert wrapped("", 5, "- ") == ["- "]


def test_sections_lose_what_they_can_spare_first() -> None:
    items = tuple((str(number),) for number in range(5))
    short, long_ = Section(("short",), items[:3], keeps=3), Section(("long",), items)
    assert fitted([short, long_], 9) == ["short", "0", "1", "2", "", "long", "0", "1", "  and 3 more"]
    assert fitted([short, long_], 5) == ["short", "  and 3 more", "", "long", "  and 5 more"]
    with pytest.raises(ValueError, match="2 headings do not fit into 2 lines"):
        fitted([short, long_], 2)


def test_whole_sections_are_left_out_where_that_is_not_enough() -> None:
    first, second, third = (
        Section(("first", "x")),
        Section(("second",), spare=1),
        Section(("third",), spare=2),
    )
    assert fitted([first, third, second], 6) == ["first", "x", "", "third", "", "second"]
    assert fitted([first, third, second], 4) == ["first", "x", "", "second"]
    assert fitted([first, third, second, second], 6, "more") == ["first", "x", "", "more", "", "second"]


if __name__ == "__main__":
    GOLDEN.write_text(good())
