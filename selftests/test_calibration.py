# SPDX-License-Identifier: GPL-2.0-or-later
"""Rounds of good kernels: kept, found by class, learnt from, and drawn from to count what is promised."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from samples import CANDIDATE, REFERENCE, SHADOW, TDP, A, make_round, plan_of

from guestloop.compare import Calibration, compare
from guestloop.compare.calibration import UNKNOWN, learn
from guestloop.compare.resampling import resample
from guestloop.compare.statements import Weight
from guestloop.ground.errors import ConfigError, Exit, LabError
from guestloop.job import calibrate as module
from guestloop.job.calibrate import Calibrating, calibrate
from guestloop.job.calibration import SHIPPED, gather, load_calibration, store
from guestloop.job.options import Options
from guestloop.report import VERDICT_FILE
from guestloop.results.good_rounds import (
    GoodRound,
    RunClass,
    by_cell,
    find_good_rounds,
    good_rounds,
    read_class,
    read_good_rounds,
    write_good_rounds,
)
from guestloop.results.load import Load
from guestloop.results.plan import Plan, write_plan
from guestloop.results.records import Correctness, Outcome, Round, write_round
from guestloop.results.sizes import USUAL, Sizes

TWIN = replace(REFERENCE, name="unpatched.2")
PLAN = plan_of(REFERENCE, TWIN, cells=(SHADOW, TDP), rounds=2)
CLASS = RunClass.of(PLAN)
READY = "async_page_ready per page-ready event"
WORK = {"work": {"pages_visited": 8192}, "work_unit": "pages_visited"}


def rounds_with(cv: float, seed: int = 1, number: int = 2) -> list[Round]:
    """Rounds of two identical kernels; their rate scatters by this cv."""
    rng = random.Random(seed)
    return [
        make_round(cell, kernel.name, index, max(0, round(rng.gauss(2000, 2000 * cv))), 4000, **WORK)
        for cell in (SHADOW, TDP)
        for kernel in PLAN.kernels
        for index in range(1, number + 1)
    ]


def sittings_with(cv: float, number: int = 4) -> list[GoodRound]:
    return [one for seed in range(number) for one in good_rounds(str(seed), rounds_with(cv, seed))]


def write_sitting(out: Path, rounds: list[Round], plan: Plan = PLAN) -> Path:
    write_plan(out, plan)
    for item in rounds:
        write_round(out, item)
    return out


# --- classes ---------------------------------------------------------------------------------------


def test_rounds_of_other_sizes_are_of_another_class(tmp_path: Path) -> None:
    """As many vCPUs as L1 and L2 have, so many are there to be late."""
    large = RunClass.of(replace(PLAN, sizes=Sizes.of(4)))
    assert large != CLASS and str(large) == f"{CLASS}, {Sizes.of(4)}"
    good = sittings_with(0.05)
    paths = [store(one, good, tmp_path) for one in (CLASS, large)]
    assert paths[1].name == paths[0].name.replace(".jsonl.gz", "-x4.jsonl.gz")
    assert [find_good_rounds(one, [tmp_path]) for one in (CLASS, large)] == paths
    assert store(large, good[:1], tmp_path) == paths[1] and len(read_good_rounds(paths[0])) == len(good)


def test_rounds_of_a_guestloop_that_knew_no_sizes_had_the_usual_ones() -> None:
    """As those that are shipped."""
    shipped = [read_class(path) for path in sorted(SHIPPED.glob("*.jsonl.gz"))]
    assert shipped and {one.sizes for one in shipped} == {USUAL}
    for one in shipped:
        assert load_calibration(one) != Calibration()
        assert load_calibration(replace(one, sizes=Sizes.of(2))) == Calibration()


# --- files -----------------------------------------------------------------------------------------


def test_what_is_compared_of_a_round_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    good = sittings_with(0.05)
    write_good_rounds(path, CLASS, good)
    assert read_class(path) == CLASS
    again = read_good_rounds(path)
    assert learn(by_cell(again)) == learn(by_cell(good))
    assert [one.boot for one in again] == [one.boot for one in good]
    content = path.read_bytes()
    write_good_rounds(path, CLASS, again)
    assert path.read_bytes() == content, "the same rounds make the same file"


@pytest.mark.parametrize("damage", [lambda content: content[:-30], lambda _: b"", lambda _: b"{}"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "x.jsonl.gz"
    write_good_rounds(path, CLASS, sittings_with(0.05))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(LabError, match=r"x\.jsonl\.gz: cannot be read as rounds of good kernels"):
        read_good_rounds(path)


def test_only_rounds_that_went_well_are_good() -> None:
    fine, *others = rounds_with(0.05)[:4]
    bad = [
        replace(others[0], outcome=Outcome.INVALID),
        replace(others[1], outcome=Outcome.SKIPPED),
        replace(others[2], correctness=Correctness.FAIL),
    ]
    assert good_rounds("1", [fine, *bad]) == [GoodRound("1", fine)]


def test_the_users_own_goes_before_the_one_that_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    own = tmp_path / "config/guestloop/calibration"
    monkeypatch.setattr("guestloop.job.calibration.SHIPPED", tmp_path / "shipped")
    assert load_calibration(CLASS).scatter(SHADOW.id, "asyncpf", READY, 2000).scatter is UNKNOWN
    store(CLASS, sittings_with(0.3), tmp_path / "shipped")
    shipped = load_calibration(CLASS).scatter(SHADOW.id, "asyncpf", READY, 2000)
    assert shipped.calibrated and shipped.scatter.cv2 > 0.15**2
    path = store(CLASS, sittings_with(0.02), own)
    assert load_calibration(CLASS).scatter(SHADOW.id, "asyncpf", READY, 2000).scatter.cv2 < 0.05**2
    assert store(CLASS, sittings_with(0.02), own) == path, "one file for a class"
    other = replace(PLAN, accelerator="kvm")
    assert find_good_rounds(RunClass.of(other), [own]) is None
    assert load_calibration(RunClass.of(other)).scatter(SHADOW.id, "asyncpf", READY, 2000).scatter is UNKNOWN


# --- learning --------------------------------------------------------------------------------------


def test_a_cell_that_was_not_calibrated_has_the_mean_of_its_test() -> None:
    known = learn(by_cell([one for one in sittings_with(0.1) if one.round.cell == SHADOW]))
    seen, other = (known.scatter(cell, "asyncpf", READY, 2000) for cell in (SHADOW.id, "asyncpf/tdp/other"))
    assert seen.calibrated and not other.calibrated
    assert other.scatter.cv2 == pytest.approx(0.1**2, rel=0.5) and other.scatter.df < seen.scatter.df
    assert known.scatter(SHADOW.id, "aging", READY, 2000).scatter is UNKNOWN


def slowed(rounds: list[Round], slowdown: float) -> list[Round]:
    load = Load(10.0, 10.0 * (slowdown - 1), 10.0, 0.0, 0.5, 0.0)
    return [replace(item, load=load) for item in rounds]


@pytest.mark.parametrize(("slowdown", "busy"), [(1.2, False), (1.5, False), (2.1, True), (None, False)])
def test_what_was_learnt_on_an_idle_machine_says_nothing_of_a_busy_one(
    slowdown: float | None, busy: bool
) -> None:
    known = learn(by_cell([GoodRound("1", item) for item in slowed(rounds_with(0.02, number=8), 1.2)]))
    rounds = rounds_with(0.02) if slowdown is None else slowed(rounds_with(0.02), slowdown)
    for cell in compare(PLAN, rounds, calibration=known).cells:
        (verdict,) = cell.candidates.values()
        assert verdict.busy is busy
        assert all(one.calibrated is not busy for one in verdict.comparisons)


def test_runs_of_other_kernels_or_classes_are_not_learnt_from(tmp_path: Path) -> None:
    one = write_sitting(tmp_path / "1", rounds_with(0.05))
    run_class, good = gather([one])
    assert run_class == CLASS and len(good) == 8
    assert PLAN.l2_kernel
    other_l2 = replace(PLAN, l2_kernel=replace(PLAN.l2_kernel, config_sha256="d" * 64))
    two = write_sitting(tmp_path / "2", rounds_with(0.05), other_l2)
    with pytest.raises(ConfigError, match=r"more than one class cannot be joined: .*configuration dddddddd"):
        gather([one, two])
    three = write_sitting(tmp_path / "3", [], plan_of(REFERENCE, CANDIDATE))
    with pytest.raises(ConfigError, match="unpatched, patched are not one build"):
        gather([three])


# --- what is promised ------------------------------------------------------------------------------


def test_what_does_not_differ_is_not_claimed_and_what_does_is() -> None:
    result = resample(sittings_with(0.03, 8), rounds=2, runs=20)
    assert (result.runs, result.false_runs) == (20, 0)
    assert result.power(Weight.JUDGED, 2.0) == 1.0 and result.power(Weight.JUDGED, 0.0) == 1.0
    assert result.power(Weight.OTHER, 2.0) == 1.0, "unmaps"


def test_rounds_that_scatter_widely_leave_cells_open() -> None:
    result = resample(sittings_with(0.4, 8), rounds=2, runs=20)
    assert result.false_runs <= 1 and result.open_cells > 1
    power = result.power(Weight.JUDGED, 1.25)
    assert power is not None and power < 0.2


# --- the command -----------------------------------------------------------------------------------


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The sittings that were measured."""
    found: list[Path] = []

    def run(options: Options) -> Exit:
        assert options.out and options.kernels == (A, A)
        found.append(options.out)
        write_sitting(options.out, rounds_with(0.04, len(found)))
        (options.out / VERDICT_FILE).write_text("{}")
        return Exit.OK

    monkeypatch.setattr(module, "run", run)
    return found


def wanted(tmp_path: Path, sittings: int) -> Calibrating:
    return Calibrating(tmp_path / "cal", Options(kernels=(A, A)), sittings, tmp_path / "kept", 4)


def test_sittings_that_are_there_are_not_measured_again(
    tmp_path: Path, ran: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(wanted(tmp_path, 1)) is Exit.OK
    assert calibrate(wanted(tmp_path, 3)) is Exit.OK
    assert [path.name for path in ran] == ["1", "2", "3"]
    (kept,) = (tmp_path / "kept").iterdir()
    assert len(read_good_rounds(kept)) == 24 and read_class(kept) == CLASS
    head, _, row, *_ = capsys.readouterr().out.splitlines()[-4:]
    assert head.startswith("| rounds | runs | false | open cells a run | +25 %, judged |")
    assert row.startswith("| 1 | 4 | 0 |")


def test_what_was_kept_promises_the_same(
    tmp_path: Path, ran: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    calibrate(wanted(tmp_path, 3))
    (kept,) = (tmp_path / "kept").iterdir()
    measured, before = capsys.readouterr().out, kept.read_bytes()
    assert calibrate(replace(wanted(tmp_path, 9), directory=kept)) is Exit.OK
    assert capsys.readouterr().out.splitlines()[-2:] == measured.splitlines()[-2:]
    assert len(ran) == 3 and kept.read_bytes() == before


def test_an_interrupted_sitting_is_not_taken_for_a_whole_one(tmp_path: Path, ran: list[Path]) -> None:
    write_sitting(tmp_path / "cal/1", rounds_with(0.05)[:3])
    with pytest.raises(ConfigError, match="cal/1: this sitting was interrupted"):
        calibrate(wanted(tmp_path, 2))
    assert not ran


def test_there_has_to_be_a_sitting(tmp_path: Path, ran: list[Path]) -> None:
    with pytest.raises(ConfigError, match="there is no run in it"):
        calibrate(wanted(tmp_path, 0))
