# SPDX-License-Identifier: GPL-2.0-or-later
"""How a run is shown while it measures: lines, or on a terminal the matrix of cells that fills up."""

from __future__ import annotations

import io
import os
import pty
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from samples import CANDIDATE, REFERENCE, A, B, make_round, plan_of
from test_sitting import CELLS, PLAN, TDP, World

from guestloop.ground import log
from guestloop.ground.wait import wait_for
from guestloop.job import live
from guestloop.job.schedule import Slot
from guestloop.job.sitting import CurrentSitting
from guestloop.job.views import PlainView, View, view_of
from guestloop.lab.spec import RunningLab
from guestloop.results.cells import Cell, Mmu
from guestloop.results.findings import Finding, FindingKind
from guestloop.results.records import Outcome, Round

Captured = pytest.CaptureFixture[str]
LOST = Finding(FindingKind.CONTENTS, "3 pages were lost \x1b[31m\nand more")
UNPROVEN = Finding(FindingKind.NOT_PROVEN, "no page fault")


@pytest.fixture
def sitting(tmp_path: Path) -> CurrentSitting:
    """Its first look has begun."""
    begun = World(tmp_path).sitting()
    begun.begin_look()
    return begun


def drawn(view: live.Matrix, columns: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=columns, no_color=True, force_terminal=False)
    with console.capture() as capture:
        console.print(view)
    return [line.rstrip() for line in capture.get().splitlines()]


def matrix(sitting: CurrentSitting, room: tuple[int, int] = (100, 24)) -> live.Matrix:
    return live.Matrix(sitting, room)


def round_of(slot: Slot, **more: Any) -> Round:
    return make_round(slot.cell, slot.kernel, slot.round, 100, **more)


def play(view: live.Matrix, sitting: CurrentSitting, *records: Mapping[str, Any]) -> None:
    """Rounds of a look, one after the other, each with these fields."""
    assert sitting.look
    for slot, more in zip(sitting.look.slots, records, strict=False):
        view.started(slot)
        sitting.end(slot)
        view.ended(slot, round_of(slot, **more), 12.0)


def test_the_matrix_fills_up(sitting: CurrentSitting) -> None:
    view = matrix(sitting)
    assert drawn(view)[:2] == [
        "asyncpf      tdp  direct  shadow",
        "read-shared  ..   ..      ..",
    ]
    play(view, sitting, {}, {}, {})
    assert drawn(view)[1] == "read-shared  11   .1      .."
    assert sitting.look
    view.started(sitting.look.slots[3])
    lines = drawn(view)
    assert lines[1] == "read-shared  11   >1      .."
    assert re.fullmatch(r"asyncpf/direct/read-shared on unpatched, round 1: 0\.\d s", lines[3])
    assert re.search(r"look-1 4/6, about 51 s left of this look$", lines[4])
    assert lines[5].startswith("A unpatched, B patched: rounds of each; > runs")


def test_rounds_of_labs_side_by_side_have_a_line_each(tmp_path: Path, capsys: Captured) -> None:
    sitting = CurrentSitting(PLAN, tmp_path, labs=(RunningLab("one"), RunningLab("two")))
    look = sitting.begin_look()
    assert look
    first, _, other = look.slots[:3]
    view = matrix(sitting)
    for slot in (first, other):
        sitting.begin(slot)
        view.started(slot)
    lines = drawn(view)
    assert lines[1] == "read-shared  >.   .>      .."
    for line, slot in zip(lines[3:], (first, other), strict=False):
        assert line.startswith(f"{slot.cell.id} on {slot.kernel}, round 1: ")
    assert "look-1 2/6, about 1 min left" in lines[5], "one lab has two cells, the other has one"
    sitting.end(first)
    plain = PlainView(sitting)
    plain.ended(first, round_of(first), 12.0)
    *_, said = capsys.readouterr().err.splitlines()
    assert said.startswith(f"    {first.cell.id} unpatched, round 1: 1000 page_ready")


def test_what_went_wrong_stays_and_is_said(sitting: CurrentSitting, capsys: Captured) -> None:
    view = matrix(sitting)
    invalid = {"outcome": Outcome.INVALID, "findings": (UNPROVEN,)}
    skipped = {"outcome": Outcome.SKIPPED, "findings": (Finding(FindingKind.LACKING, "no swap"),)}
    play(view, sitting, {"findings": (LOST,)}, invalid, skipped)
    assert drawn(view)[1] == "read-shared  x!   .-      .."
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"{TDP} {A}, round 1: wrong: 3 pages were lost [12.0 s]",
        f"{TDP} {B}, round 1: invalid: no page fault [12.0 s]",
    ], "and nothing of a round that is as it should be"


def test_a_round_without_a_record_is_said(sitting: CurrentSitting, capsys: Captured) -> None:
    assert sitting.look
    view, slot = matrix(sitting), sitting.look.slots[0]
    view.started(slot)
    view.ended(slot, None, 3.0)
    view.not_started(slot)
    said = capsys.readouterr().err
    assert "no result was written [3.0 s]" in said and f"{TDP} {A}, round 1: " in said
    assert drawn(view)[3] == "between two rounds"


def test_rounds_of_a_run_that_is_resumed_are_there(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.measure(Slot(CELLS[0], A, 1))
    world.measure(Slot(CELLS[0], B, 1))
    assert drawn(matrix(world.sitting()))[1] == "read-shared  11   ..      .."


def many_tests(tmp_path: Path) -> CurrentSitting:
    cells = tuple(
        Cell(test, mmu, {"load": f"load-{number}"})
        for test in ("asyncpf", "aging", "migration")
        for number in range(7)
        for mmu in (Mmu.TDP, Mmu.DIRECT, Mmu.SHADOW)
    )
    begun = World(tmp_path, plan_of(REFERENCE, CANDIDATE, cells=cells)).sitting()
    begun.begin_look()
    return begun


def test_tests_are_beside_each_other_where_there_is_room(tmp_path: Path) -> None:
    sitting = many_tests(tmp_path)
    side_by_side = drawn(matrix(sitting, (160, 24)), 160)
    assert re.match(r"asyncpf .* aging .* migration ", side_by_side[0]) and len(side_by_side) <= 24
    below = drawn(matrix(sitting, (70, 40)), 70)
    assert [line.split()[0] for line in below if "shadow" in line] == ["asyncpf", "aging", "migration"]
    assert len(below) <= 40


def test_a_small_terminal_has_the_sums(tmp_path: Path) -> None:
    sitting = many_tests(tmp_path)
    view = matrix(sitting, (80, 24))
    play(view, sitting, {}, {}, {"findings": (LOST,)})
    lines = drawn(view, 80)
    assert lines[1].split() == ["asyncpf", "1/7", "0/7", "1x", "0/7"] and len(lines) <= 24
    assert all(len(line) <= 80 for line in lines)


def test_a_long_name_is_cut(tmp_path: Path) -> None:
    long = Cell("asyncpf", Mmu.TDP, {"load": "a-load-with-a-name-that-nobody-can-remember-" + "x" * 40})
    sitting = World(tmp_path, plan_of(REFERENCE, CANDIDATE, cells=(long,))).sitting()
    line = drawn(matrix(sitting, (60, 24)), 60)[1]
    assert re.fullmatch(r"a-load-with-a-name-that-\S*…  \.\.", line)


def test_without_a_terminal_there_are_lines(sitting: CurrentSitting, capsys: Captured) -> None:
    assert sitting.look
    with view_of(sitting) as view:
        assert isinstance(view, PlainView)
        view.started(sitting.look.slots[0])
        view.ended(sitting.look.slots[0], round_of(sitting.look.slots[0], findings=(LOST,)), 12.0)
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"[look-1 1/6] {TDP} {A}, round 1"
    assert second.startswith("    wrong: 3 pages were lost [12.0 s, about")


class Terminal:
    """Standard error as a terminal, with a user who reads all the time: else it would fill up."""

    def __init__(self) -> None:
        self._reader, writer = pty.openpty()
        self.stream = os.fdopen(writer, "w", encoding="utf-8")
        self._text = b""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with suppress(OSError):
            while data := os.read(self._reader, 4096):
                self._text += data

    def _whole(self) -> str | None:
        text = self._text.decode(errors="replace")
        return text if text.endswith(END) else None

    def seen(self) -> str:
        """What was written since it was asked the last time."""
        self.stream.write(END)
        self.stream.flush()
        text = wait_for("the end", self._whole, 5, interval=0.01)
        self._text = b""
        return text.removesuffix(END)


END = "<end>"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A usual one; a test opens it as its standard error, which pytest sets anew for each of its steps."""
    one = Terminal()
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in (("TERM", "xterm-256color"), ("COLUMNS", "100"), ("LINES", "24")):
        monkeypatch.setenv(name, value)
    yield one
    one.stream.close()


@contextmanager
def shown_on(terminal: Terminal, sitting: CurrentSitting) -> Iterator[View]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", terminal.stream)
        with view_of(sitting) as view:
            yield view


def test_a_terminal_is_drawn_on_and_left_clean(
    sitting: CurrentSitting, terminal: Terminal, capsys: Captured
) -> None:
    assert sitting.look
    with shown_on(terminal, sitting) as view:
        assert isinstance(view, live.Matrix)
        view.started(sitting.look.slots[0])
        log.say("==> a line for the user")
        view.ended(sitting.look.slots[0], round_of(sitting.look.slots[0], findings=(LOST,)), 12.0)
    text = terminal.seen()
    assert "==> a line for the user\r\n" in text and "\x1b[" in text and "shadow" in text
    assert "wrong: 3 pages were lost [12.0 s]" in text
    assert "\x1b[?25l" not in text, "a run that is killed could not show the cursor again"
    last = text.rpartition("\n")[2]
    assert re.fullmatch(r"(?:\x1b\[1A|\x1b\[2K|\r)*", last), "what was drawn is gone"
    log.say("as usual")
    assert capsys.readouterr().err.endswith("as usual\n")


def test_no_color_is_kept(
    sitting: CurrentSitting, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with shown_on(terminal, sitting) as view:
        assert isinstance(view, live.Matrix)
        play(view, sitting, {"findings": (LOST,)})
    colours = re.findall(r"\x1b\[([0-9;]*)m", terminal.seen())
    assert not [one for one in colours if re.search(r"\b(3[0-7]|9[0-7]|38|48)\b", one)]


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("COLUMNS", "50")])
def test_a_dumb_or_narrow_terminal_has_lines(
    name: str, value: str, sitting: CurrentSitting, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with shown_on(terminal, sitting) as view:
        assert isinstance(view, PlainView)
        view.started(Slot(CELLS[0], A, 1))
    assert terminal.seen() == f"[look-1 1/6] {TDP} {A}, round 1\r\n"
