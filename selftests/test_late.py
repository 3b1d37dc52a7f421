# SPDX-License-Identifier: GPL-2.0-or-later
"""What an L1 says after its last round: from the lab to the answer, the report and verdict.json."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from recorded import RECORDED
from samples import CANDIDATE, REFERENCE, A, B, compare, plan_of, rounds_of
from test_cli import Terminal

from guestloop.compare import Overall, Verdict
from guestloop.ground.errors import Exit, LabError
from guestloop.lab.server import close
from guestloop.lab.slot import Slot
from guestloop.lab.spec import LabSpec
from guestloop.report import describe, render_text
from guestloop.report.verdict_json import validate
from guestloop.results.findings import Finding, FindingKind
from guestloop.results.late import LAB_DIRECTORY, LATE_FILE, read_late, write_late
from guestloop.results.plan import PlannedKernel
from guestloop.results.records import Correctness, Outcome

WARN = "WARNING: CPU: 0 PID: 1 at arch/x86/kvm/mmu/mmu.c:1064"
PANIC = "L1 patched panicked: Kernel panic - not syncing: Oops"
FEWER, SAME = {A: (420, 433), B: (0, 1)}, {A: (420, 433), B: (425, 430)}


def judged(
    late: Mapping[str, Sequence[str]],
    flushes: Mapping[str, tuple[int, int]] = SAME,
    candidate: PlannedKernel = CANDIDATE,
) -> Verdict:
    return compare(plan_of(REFERENCE, candidate), rounds_of(flushes), late)


# --- the verdict -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [A, B])
@pytest.mark.parametrize("flushes", [SAME, FEWER])
def test_a_run_with_a_late_complaint_is_inconclusive(
    kernel: str, flushes: Mapping[str, tuple[int, int]]
) -> None:
    assert judged({}, flushes).overall is Overall.NO_REGRESSION
    verdict = judged({kernel: [WARN]}, flushes)
    assert (verdict.overall, verdict.exit_status) == (Overall.INCONCLUSIVE, Exit.INCONCLUSIVE)
    assert verdict.answer.startswith("inconclusive: 1 cell ")
    assert f", 1 complaint of L1 {kernel} after its last round ({WARN}), contents correct" in verdict.answer
    assert verdict.cells == judged({}, flushes).cells, "no cell is held responsible"


def test_identical_kernels_make_no_difference() -> None:
    twin = replace(CANDIDATE, sha256=REFERENCE.sha256)
    assert judged({}, candidate=twin).answer.startswith("no difference: ")
    verdict = judged({B: [WARN]}, candidate=twin)
    assert verdict.overall is Overall.INCONCLUSIVE and verdict.answer.startswith("inconclusive: ")


def test_what_is_worse_stays_what_it_is() -> None:
    assert judged({B: [WARN]}, {A: (0, 1), B: (420, 433)}).overall is Overall.REGRESSION
    plan = plan_of(REFERENCE, replace(CANDIDATE, sha256=REFERENCE.sha256))
    failed = [
        replace(item, correctness=Correctness.FAIL, findings=(Finding(FindingKind.CONTENTS, "lost"),))
        for item in rounds_of(SAME)
    ]
    assert compare(plan, failed, {B: [WARN]}).overall is Overall.UNSTABLE
    invalid = [replace(item, outcome=Outcome.INVALID) for item in rounds_of(SAME)]
    verdict = compare(plan, invalid, {B: [WARN]})
    assert verdict.overall is Overall.NOTHING_MEASURED and WARN in verdict.answer


def test_both_l1s_are_named_and_long_lines_are_cut() -> None:
    answer = judged({A: [WARN, "more"], B: ["word " * 100]}).answer
    assert f"2 complaints of L1 {A} after its last round ({WARN}), 1 complaint of L1 {B} after" in answer
    assert "word …)" in answer and len(answer) < 600


def test_of_several_candidates_they_have_a_part_of_their_own() -> None:
    third = replace(CANDIDATE, name="third", sha256="c" * 64)
    rounds = rounds_of({**SAME, "third": (421, 431)})
    answer = compare(plan_of(REFERENCE, CANDIDATE, third), rounds, {"third": [PANIC]}).answer
    assert f"; 1 complaint of L1 third after its last round ({PANIC}); contents correct" in answer


def test_a_complaint_of_a_kernel_that_was_not_planned_is_refused() -> None:
    with pytest.raises(LabError, match="the L1 of stranger, which complained late, is not in the plan"):
        judged({"stranger": [WARN]})


# --- reports ---------------------------------------------------------------------------------------


def test_verdict_json_has_all_of_it_by_kernel() -> None:
    data = describe(plan_of(REFERENCE, CANDIDATE), judged({B: [WARN, PANIC]}))
    validate(data)
    assert [kernel["late"] for kernel in data["kernels"].values()] == [[], [WARN, PANIC]]


def test_the_report_shows_it_below_its_kernel() -> None:
    plan = plan_of(REFERENCE, CANDIDATE)
    lines = render_text(plan, judged({B: [WARN, PANIC, "third", "fourth", "fifth"]})).splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("B  patched: ")]
    assert lines[at + 1 : at + 7] == [
        f"     after its last round: {WARN}",
        f"     after its last round: {PANIC}",
        "     after its last round: third",
        "     and 2 more",
        "L2: 6.12.117, linux-source-6.12 6.12.117-1, gcc 12.2.0, build id 12cd12cd12cd",
        "accelerator tcg, profile default, 2 rounds per kernel",
    ]


# --- files -----------------------------------------------------------------------------------------


def test_the_lab_stores_what_is_said_while_it_ends(tmp_path: Path) -> None:
    spec = cast("LabSpec", SimpleNamespace(directory=tmp_path / LAB_DIRECTORY))
    slots = {A: SimpleNamespace(close=list), B: SimpleNamespace(close=lambda: [WARN, PANIC])}
    close(cast("Mapping[str, Slot]", slots), spec)
    assert read_late(tmp_path) == {B: (WARN, PANIC)}


def test_nothing_is_stored_for_nothing(tmp_path: Path) -> None:
    write_late(tmp_path / LAB_DIRECTORY, {})
    assert list(tmp_path.iterdir()) == [] and read_late(tmp_path) == {}


@pytest.mark.parametrize("text", ["{", "[]", "[1]"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / LAB_DIRECTORY / LATE_FILE
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(LabError, match=f"{path}: cannot be read as a result"):
        read_late(tmp_path)


def test_scripts_compare_reads_it(tmp_path: Path) -> None:
    out = Path(shutil.copytree(RECORDED, tmp_path / "out"))
    write_late(out / LAB_DIRECTORY, {B: [PANIC]})
    done = Terminal(tmp_path).run("compare", "--verbose", out)
    assert done.returncode == Exit.INCONCLUSIVE, done.stderr
    assert f"after its last round: {PANIC}" in done.stdout
    data = json.loads((out / "verdict.json").read_text())
    assert data["verdict"] == "inconclusive" and PANIC in data["answer"]
