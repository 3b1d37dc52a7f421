# SPDX-License-Identifier: GPL-2.0-or-later
"""A verdict that is read again says what was written."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from samples import compare
from test_report import A, B, C, make_result, make_result_of_three

from guestloop.compare import Change, Overall, Status
from guestloop.ground.errors import ConfigError, Exit, LabError
from guestloop.job.made_by import describe_checkout, signed
from guestloop.report import VERDICT_FILE, read_result, write_verdict
from guestloop.report.verdict_json import validate
from guestloop.results.changes import ChangedFunction, Changes
from guestloop.results.plan import Kernels, MadeBy, parse_plan
from guestloop.results.reach import NeverRan, Ran, Unproven
from guestloop.results.sittings import Ending, Sitting
from guestloop.results.sizes import USUAL, Sizes

STARTED, ENDED = "2026-04-08T09:31:07+00:00", "2026-04-08T09:51:07+00:00"


def test_every_cell_and_round_is_read_as_it_was_judged(tmp_path: Path) -> None:
    plan, verdict = make_result_of_three()
    write_verdict(tmp_path, plan, verdict)
    result = read_result(tmp_path)
    assert (result.verdict, result.answer) == (Overall.REGRESSION, verdict.answer)
    assert result.summary == verdict.summary
    assert (result.exit_status, result.reference) == (Exit.REGRESSION, A)
    assert [kernel.name for kernel in result.candidates] == [B, C]
    assert [cell.id for cell in result.cells] == [cell.id for cell in plan.cells]
    for read, judged in zip(result.cells, verdict.cells, strict=True):
        assert read.status is judged.status and read.correctness == judged.correctness
        assert read.rounds == tuple(replace(item, cell=read.cell) for item in judged.rounds)
        for name, seen in judged.candidates.items():
            found = read.candidates[name]
            assert (found.status, found.reason) == (seen.status, seen.reason)
            assert [one.name for one in found.figures] == [one.name for one in seen.comparisons]
            assert found.decisive is None or found.decisive in found.figures


def test_a_cell_is_read_with_the_id_that_it_was_written_with(tmp_path: Path) -> None:
    plan, verdict = make_result("same")
    usual = replace(plan.cells[0], variant={"load": "x", "way": "y", "vcpus": "4"}, usual=("vcpus",))
    rounds = [replace(item, cell=usual) for item in verdict.cells[0].rounds]
    plan = replace(plan, cells=(usual,))
    write_verdict(tmp_path, plan, compare(plan, rounds))
    (read,) = read_result(tmp_path).cells
    assert read.cell == usual and {item.cell.id for item in read.rounds} == {read.id}


def test_figures_are_of_the_reference_and_then_the_candidate(tmp_path: Path) -> None:
    write_verdict(tmp_path, *make_result("fewer"))
    figure = read_result(tmp_path).cells[0].candidates[B].decisive
    assert figure and (figure.name, figure.change) == ("async_page_ready", Change.FEWER)
    assert (figure.counts, figure.totals) == (((1092, 1041), (1, 0)), (2133, 1))
    assert list(figure.rates) == pytest.approx([0.413, 0.0], abs=0.001)
    assert figure.exposures == ((2580, 2580), (2580, 2580))
    for rate, (low, high) in zip(figure.rates, figure.limits, strict=True):
        assert low < rate < high < 2 * rate + 0.01


def test_how_it_was_measured(tmp_path: Path) -> None:
    plan, verdict = make_result("same")
    words = ("run", "--out", "/tmp/x y", "0001 fix.patch", "--base=v6.12", "--out=again")
    made = MadeBy("0.1.0", "9dddd95a1c2b" + "0" * 28, modified=True)
    plan = replace(plan, started=STARTED, made_by=made, arguments=words, directory="/src")
    sitting = Sitting(1, 0, (2,), None, ending=Ending.INTERRUPTED, ended=ENDED)
    write_verdict(tmp_path, plan, verdict, [sitting])
    course = read_result(tmp_path).course
    assert (course.started, course.ended, course.interrupted) == (STARTED, ENDED, True)
    assert str(course.command) == "scripts/run '0001 fix.patch' --base=v6.12"
    assert str(course.made_by) == "guestloop 0.1.0 (9dddd95a1c2b, modified)"
    assert course.planned_cells == ("asyncpf/direct/read-shared",)


def test_how_large_it_was(tmp_path: Path) -> None:
    plan, verdict = make_result("same")
    path = write_verdict(tmp_path, plan, verdict)
    assert read_result(tmp_path).course.sizes == plan.sizes == USUAL
    data = json.loads(path.read_text())
    assert data["run"]["sizes"] == {"scale": 1, "l1_cpus": 2, "l1_memory_mib": 2048, "l1_swap_mib": 1024}
    write_verdict(tmp_path, replace(plan, sizes=Sizes.of(8)), verdict, replace=True)
    assert read_result(tmp_path).course.sizes == Sizes.of(8)
    del data["run"]["sizes"]
    validate(data)
    path.write_text(json.dumps(data))
    assert read_result(tmp_path).course.sizes == USUAL, "as in results of a guestloop that knew no others"


def test_a_plan_without_sizes_had_the_usual_ones(tmp_path: Path) -> None:
    plan, _ = make_result("same")
    data = json.loads(json.dumps(asdict(replace(plan, sizes=Sizes.of(2)))))
    assert parse_plan(data).sizes == Sizes.of(2)
    del data["sizes"]
    assert parse_plan(data) == plan


def test_what_avocado_measured_by_itself_has_no_command(tmp_path: Path) -> None:
    write_verdict(tmp_path, *make_result("same"))
    course = read_result(tmp_path).course
    assert (str(course.command), course.ending, course.interrupted) == ("", None, False)


@pytest.mark.parametrize("seen", [Ran({B: {"kvm:f": 3}}, "/old"), NeverRan(), Unproven("no probes"), None])
def test_changed_functions_and_where_they_ran(tmp_path: Path, seen: Ran | NeverRan | Unproven | None) -> None:
    plan, verdict = make_result("same")
    changes = Changes((ChangedFunction("kvm", "f", ("f",), ("f.part.0",)),), ("kvm:ops",))
    candidate = replace(plan.kernels.candidates[0], changes=changes)
    plan = replace(plan, kernels=Kernels(plan.kernels.reference, (candidate,)))
    cell = verdict.cells[0]
    judged = replace(cell, candidates={B: replace(cell.candidates[B], reach=seen)})
    write_verdict(tmp_path, plan, replace(verdict, cells=(judged,)))
    result = read_result(tmp_path)
    assert result.kernels[B].changes == changes and result.kernels[A].changes is None
    assert result.cells[0].candidates[B].reach == seen


def change(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_another_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = write_verdict(tmp_path, *make_result("same"))
    change(path, schema_version=5)
    with pytest.raises(ConfigError, match=r"it has schema 5, and reports are made from schema 6") as raised:
        read_result(tmp_path)
    assert f"scripts/compare {tmp_path}" in raised.value.hint


def test_no_verdict_and_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no verdict\.json in it"):
        read_result(tmp_path)
    path = write_verdict(tmp_path, *make_result("same"))
    change(path, cells=[{"id": 3}])
    with pytest.raises(LabError, match=r"verdict\.json: cannot be read as a result"):
        read_result(tmp_path)
    (tmp_path / VERDICT_FILE).write_text("[]")
    with pytest.raises(LabError, match="cannot be read as a result"):
        read_result(tmp_path)


def test_every_status_is_read(tmp_path: Path) -> None:
    plan, verdict = make_result("fewer")
    cell = verdict.cells[0]
    for status in Status:
        judged = {B: replace(cell.candidates[B], status=status, reason="a reason")}
        cells = (replace(cell, candidates=judged),)
        write_verdict(tmp_path, plan, replace(verdict, cells=cells), replace=True)
        assert read_result(tmp_path).cells[0].candidates[B].status is status


def test_a_checkout_is_named_by_its_commit_and_none_by_its_version(tmp_path: Path) -> None:
    here = describe_checkout(Path(__file__).parents[1])
    assert here.version and (not here.commit or len(here.commit) == 40)
    assert describe_checkout(tmp_path) == MadeBy(here.version)


def test_each_run_has_an_id_of_its_own() -> None:
    plan, _ = make_result("same")
    one, other = signed(plan), signed(plan)
    assert one.run_id != other.run_id != "" and one.made_by == other.made_by
    assert one.started.endswith("+00:00") and replace(one, run_id="", started="", made_by=MadeBy()) == plan
