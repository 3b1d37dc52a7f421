# SPDX-License-Identifier: GPL-2.0-or-later
"""A sitting: looks follow one another until all is settled, the budget is spent, or somebody ends it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from samples import CANDIDATE, REFERENCE, A, B, make_round, plan_of, rounds_of

from guestloop.compare import learn
from guestloop.ground.errors import ConfigError, LabError
from guestloop.job.looks import wanted_rounds
from guestloop.job.progress import Progress
from guestloop.job.schedule import Slot
from guestloop.job.sitting import SITTING_KEY, CurrentSitting, describe_left
from guestloop.job.spawner import NOT_STARTED
from guestloop.lab.spec import RunningLab
from guestloop.results.cells import Cell, Mmu
from guestloop.results.changes import Probed
from guestloop.results.hold import held
from guestloop.results.plan import Plan, read_plan, write_plan
from guestloop.results.records import Round, read_rounds, write_round
from guestloop.results.sittings import Ending, read_sittings

CELLS = tuple(Cell("asyncpf", mmu, {"load": "read-shared"}) for mmu in (Mmu.TDP, Mmu.DIRECT, Mmu.SHADOW))
TDP, DIRECT, SHADOW = (cell.id for cell in CELLS)
PLAN = replace(plan_of(REFERENCE, CANDIDATE, cells=CELLS), looks=(1, 2, 4))


class Killed(Exception):
    """As by kill -9: nothing is done any more."""


@dataclass
class World:
    """A run whose rounds take no time: ``now`` is what the clock of the sitting shows."""

    out: Path
    plan: Plan = PLAN
    open_cells: Collection[str] = (DIRECT, SHADOW)
    now: float = 0.0
    seconds: float = 10.0

    def sitting(self) -> CurrentSitting:
        return CurrentSitting(self.plan, self.out, self.judge, lambda: self.now)

    def judge(self, _plan: Plan, rounds: Sequence[Round]) -> Mapping[str, int]:
        assert len(rounds) >= len(CELLS) * 2 or rounds == read_rounds(self.out)
        return dict.fromkeys(self.open_cells, 1)

    def play(self, sitting: CurrentSitting, rounds: int = 999) -> None:
        """Measure as a job does, and be killed after this number of rounds."""
        while look := sitting.begin_look():
            for slot in look.slots:
                if not rounds:
                    raise Killed
                if sitting.may_start(slot):
                    self.measure(slot)
                    sitting.end(slot)
                    rounds -= 1

    def measure(self, slot: Slot) -> None:
        self.now += self.seconds + 1
        item = make_round(slot.cell, slot.kernel, slot.round, 100, seconds=self.seconds)
        write_round(self.out, replace(item, repeats=slot.repeats))

    def numbers(self) -> dict[str, dict[str, list[int]]]:
        """By cell and kernel."""
        found: dict[str, dict[str, list[int]]] = {cell.id: {A: [], B: []} for cell in CELLS}
        for item in read_rounds(self.out):
            found[item.cell.id][item.kernel].append(item.round)
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_looks_follow_one_another_until_all_is_settled(world: World) -> None:
    sitting = world.sitting()
    world.play(sitting)
    every = {TDP: [1], DIRECT: [1, 2, 3, 4], SHADOW: [1, 2, 3, 4]}
    assert world.numbers() == {cell: {A: numbers, B: numbers} for cell, numbers in every.items()}
    record = sitting.finish(complete=True)
    assert (record.ending, record.left, record.number, record.rounds_before) == (Ending.COMPLETE, (), 1, 0)
    assert [(look.name, look.cells, look.rounds) for look in record.measured] == [
        ("look-1", 3, 6),
        ("look-2", 2, 4),
        ("look-3", 2, 8),
    ]
    assert [look.seconds for look in record.measured] == [66, 44, 88]
    assert read_sittings(world.out) == (record,)
    assert describe_left(record, world.out) == []


def test_what_does_not_fit_into_the_budget_is_told_by_cell(world: World) -> None:
    """Rounds take 11 s each, L0's work included: the third look has 8 of them and 80 s."""
    world.plan = replace(PLAN, budget_s=66 + 44 + 80)
    sitting = world.sitting()
    world.play(sitting)
    assert {cell: len(by[A]) for cell, by in world.numbers().items()} == {TDP: 1, DIRECT: 4, SHADOW: 2}
    assert world.now <= 66 + 44 + 80
    record = sitting.finish(complete=True)
    assert record.ending is Ending.BUDGET
    assert [(one.cell, one.rounds, one.more, one.seconds) for one in record.left] == [(SHADOW, 2, 4, 44)]
    assert describe_left(record, Path("out")) == [
        "==> budget spent: 1 cell is open, it would need up to 44.0 s more;",
        "      scripts/run --resume out goes on",
        f"      {SHADOW}: 2 rounds per kernel, up to 44.0 s more",
    ]


def test_a_look_that_takes_longer_than_expected_is_cut_between_cells(world: World) -> None:
    world.plan = replace(PLAN, budget_s=66 + 44)
    sitting = world.sitting()
    look = sitting.begin_look()
    assert look
    for slot in look.slots:
        assert sitting.may_start(slot)
        world.measure(slot)
        sitting.end(slot)
    look = sitting.begin_look()
    assert look and set(look.by_cell) == {DIRECT, SHADOW}
    first, second, third, fourth = look.slots
    assert sitting.may_start(first)
    world.now += 1000
    assert sitting.may_start(second), "never one kernel without the other"
    assert not sitting.may_start(third)
    world.now -= 1000
    assert not sitting.may_start(fourth), "what was decided for a cell stands"


def test_without_a_budget_there_is_no_end_but_the_last_look(world: World) -> None:
    world.seconds = 1e6
    sitting = world.sitting()
    world.play(sitting)
    assert sitting.finish(complete=True).ending is Ending.COMPLETE


def test_the_first_look_is_whole_whatever_the_budget(world: World) -> None:
    world.plan = replace(PLAN, budget_s=1.0)
    sitting = world.sitting()
    world.play(sitting)
    assert all(by == {A: [1], B: [1]} for by in world.numbers().values())
    assert [one.cell for one in sitting.finish(complete=True).left] == [DIRECT, SHADOW]


def test_a_run_that_is_killed_anywhere_is_resumed_where_it_was(tmp_path: Path) -> None:
    """Again and again, after each number of rounds from 0 to all: in the end it is the same run."""
    whole = World(tmp_path / "whole", replace(PLAN, budget_s=5000.0))
    whole.play(whole.sitting())
    for after in range(18):
        world = World(tmp_path / f"{after}", whole.plan)
        with suppress(Killed):
            world.play(world.sitting(), after)
        before = {path: path.read_bytes() for path in (world.out / "rounds").rglob("*.json")}
        assert len(before) == after
        sitting = world.sitting()
        world.play(sitting)
        assert world.numbers() == whole.numbers()
        assert all(path.read_bytes() == data for path, data in before.items()), "and nothing is replaced"
        assert sitting.finish(complete=True).rounds_before == after
        assert [one.ending for one in read_sittings(world.out)] == [None, Ending.COMPLETE]


def test_a_run_that_is_killed_after_each_round_comes_to_its_end(world: World) -> None:
    for _ in range(18):
        with suppress(Killed):
            world.play(world.sitting(), 1)
    assert sum(len(own) for by in world.numbers().values() for own in by.values()) == 18
    assert world.sitting().begin_look() is None


def test_boots_of_the_first_rounds_are_not_expected_of_the_others(world: World) -> None:
    sitting = world.sitting()
    look = sitting.begin_look()
    assert look
    assert sitting.costs.overhead_s == 2, "what is usual, before anything was seen"
    for slot, boot_s in zip(look.slots, (30, 25, 0, 0, 0, 0), strict=True):
        world.now += boot_s
        world.measure(slot)
        sitting.end(slot)
    assert sitting.costs.overhead_s == 1


def test_an_interrupted_sitting_says_so(world: World) -> None:
    sitting = world.sitting()
    with suppress(Killed):
        world.play(sitting, 3)
    record = sitting.finish(complete=False)
    assert (record.ending, record.left) == (Ending.INTERRUPTED, ())
    assert [(look.name, look.rounds) for look in record.measured] == [("look-1", 3)]


def test_a_budget_that_was_spent_is_gone_on_with(world: World) -> None:
    world.plan = replace(PLAN, budget_s=70.0)
    first = world.sitting()
    world.play(first)
    first.finish(complete=True)
    world.plan = PLAN
    second = world.sitting()
    assert second.record.number == 2 and second.record.rounds_before == 6
    world.play(second)
    assert second.finish(complete=True).ending is Ending.COMPLETE
    assert {cell: len(by[A]) for cell, by in world.numbers().items()} == {TDP: 1, DIRECT: 4, SHADOW: 4}


def test_rounds_that_leave_no_record_are_not_measured_for_ever(world: World) -> None:
    sitting = world.sitting()
    look = sitting.begin_look()
    assert look
    for slot in look.slots:
        assert sitting.end(slot) is None
    with pytest.raises(LabError, match="rounds were measured and left no record"):
        sitting.begin_look()


def test_one_look_needs_no_judge(world: World) -> None:
    world.plan = replace(PLAN, looks=(2,))
    world.judge = lambda *_: pytest.fail("judged")  # type: ignore[method-assign]
    sitting = CurrentSitting(world.plan, world.out, world.judge, lambda: world.now)
    world.play(sitting)
    assert sitting.finish(complete=True).ending is Ending.COMPLETE


def test_open_cells_are_those_of_which_more_rounds_may_say_more() -> None:
    plan = replace(plan_of(REFERENCE, CANDIDATE, cells=CELLS), looks=(2, 4))
    settled = rounds_of({A: (420, 433), B: (0, 1)}, CELLS[2])
    assert wanted_rounds(plan, settled) == {}, "a cell without rounds is invalid, and its first look is due"
    scattered = rounds_of({A: (4, 900), B: (3, 1000)}, CELLS[2])
    assert wanted_rounds(plan, scattered) == {SHADOW: 64}


def test_a_change_that_one_round_shows_is_measured_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(plan_of(REFERENCE, CANDIDATE, cells=CELLS), looks=(1, 2, 4))
    known = learn([rounds_of({A: (420, 433, 425, 415, 429, 421, 418, 430)}, CELLS[2])])
    monkeypatch.setattr("guestloop.job.looks.load_calibration", lambda _class: known)
    for counts in ({A: (420,), B: (0,)}, {A: (420,), B: (2000,)}):
        assert wanted_rounds(plan, rounds_of(counts, CELLS[2])) == {SHADOW: 1}
    once_more = rounds_of({A: (420, 433), B: (2000, 2100)}, CELLS[2])
    assert wanted_rounds(plan, once_more) == {}
    disturbed = [
        replace(item, probed=Probed({"kvm:f": 7}, {}, 7)) if item.round == 1 and item.kernel == B else item
        for item in once_more
    ]
    assert wanted_rounds(plan, disturbed) == {SHADOW: 1}


# --- labs side by side -----------------------------------------------------------------------------


def side_by_side(world: World) -> CurrentSitting:
    labs = (RunningLab("one"), RunningLab("two"))
    return CurrentSitting(world.plan, world.out, world.judge, lambda: world.now, labs)


def test_the_time_beside_a_round_is_that_of_its_own_lab(world: World) -> None:
    """Rounds of 10 s in two labs, which begin together: each takes a second more."""
    sitting = side_by_side(world)
    look = sitting.begin_look()
    assert look
    lanes: dict[int, list[Slot]] = {0: [], 1: []}
    for slot in look.slots:
        lanes[sitting.lane_of(slot)].append(slot)
    assert [len(lane) for lane in lanes.values()] == [4, 2], "three cells"
    assert sitting.rest_s == 4 * 17
    for number in range(2):
        world.now += 11
        for lane in lanes.values():
            write_round(world.out, make_round(lane[number].cell, lane[number].kernel, 1, 100, seconds=10.0))
            sitting.end(lane[number])
    assert sitting.costs.overhead_s == 1 and sitting.rest_s == 2 * 11


def test_a_lab_that_waited_for_others_is_not_counted_as_slow(world: World) -> None:
    """A look is judged when the last lab is through with it."""
    sitting = side_by_side(world)
    for at in (0, 500):
        world.now = at
        look = sitting.begin_look()
        assert look
        for slot in look.slots:
            world.now = at + 11
            write_round(world.out, make_round(slot.cell, slot.kernel, slot.round, 100, seconds=10.0))
            sitting.end(slot)
    assert max(sitting._overheads) == 1


def test_a_budget_that_no_cell_fits_into_is_the_end(world: World) -> None:
    world.plan = replace(PLAN, budget_s=10.0)
    sitting = side_by_side(world)
    world.play(sitting)
    record = sitting.finish(complete=True)
    assert record.ending is Ending.BUDGET and record.labs == 2
    assert {cell: len(by[A]) for cell, by in world.numbers().items()} == {TDP: 1, DIRECT: 1, SHADOW: 1}


# --- what the user sees ----------------------------------------------------------------------------


def test_progress_says_which_look_how_far_and_how_long(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: world.now)
    world.plan = replace(PLAN, budget_s=66 + 44 + 5)
    sitting = world.sitting()
    progress = Progress({SITTING_KEY: sitting})
    said = []
    for look in iter(sitting.begin_look, None):
        for slot in look.slots:
            state = {"name": type("", (), {"variant": slot.label}), "status": "PASS", "params": []}
            progress.start_test(None, state)
            if sitting.may_start(slot):
                world.measure(slot)
                if slot.round == 2:
                    world.now += 20
            else:
                state |= {"status": "SKIP", "fail_reason": NOT_STARTED}
            progress.end_test(None, state)
        said.append(capsys.readouterr().err.splitlines())
    first, second = said
    done = "1000 page_ready, 200 flush requests (async_page_ready 100), contents pass"
    assert first[:3] == [
        "==> look 1 of 3: 3 cells, 6 rounds",
        f"[look-1 1/6] {TDP} unpatched, round 1",
        f"    {done} [11.0 s, about 55.0 s left of this look, 1 min 44 s of the budget]",
    ]
    assert first[-1] == f"    {done} [11.0 s]"
    assert second[0] == "==> look 2 of 3: 2 cells, 4 rounds" and second[1].startswith("[look-2 1/4] ")
    assert second[-2:] == [f"    {SHADOW} {kernel}, round 2: {NOT_STARTED}" for kernel in (B, A)]


def test_progress_of_one_look_is_as_it_was(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: world.now)
    world.plan = replace(PLAN, looks=(1,))
    sitting = world.sitting()
    progress = Progress({SITTING_KEY: sitting})
    look = sitting.begin_look()
    assert look
    state = {"name": type("", (), {"variant": look.slots[0].label}), "status": "PASS", "params": []}
    progress.start_test(None, state)
    progress.end_test(None, state)
    assert capsys.readouterr().err.splitlines() == [
        f"[1/6] {TDP} unpatched, round 1",
        "    no result was written [0.0 s, about 1 min 25 s left]",
    ]


# --- one run at a time -----------------------------------------------------------------------------


def test_a_directory_belongs_to_one_run(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(ConfigError, match="another run is measuring into it"), held(tmp_path):
        pass
    with held(tmp_path):
        pass


def test_a_plan_with_looks_is_stored(tmp_path: Path) -> None:
    plan = replace(PLAN, budget_s=1200.0, fresh_boots=True, arguments=("run", "x.patch"), directory="/home")
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan and plan.rounds == 1
    with pytest.raises(ValueError, match="looks rise from 1 or more, seen: 2, 1"):
        replace(PLAN, looks=(2, 1))
