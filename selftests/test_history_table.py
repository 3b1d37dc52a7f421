# SPDX-License-Identifier: GPL-2.0-or-later
"""The history as CSV, and the command that makes it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from histories import package, plan_for, read_run, releases, rounds_for, write_run
from samples import SHADOW, TDP, Steady

from guestloop import cli
from guestloop.compare import learn
from guestloop.ground.errors import ConfigError, Exit
from guestloop.history.record import PAGE, TABLE, Wanted, record
from guestloop.history.runs import Run
from guestloop.history.scatter import good_rounds_of
from guestloop.history.store import read_store, write_store
from guestloop.history.table import COLUMNS, render_table
from guestloop.job.calibration import store
from guestloop.results.changes import Probed
from guestloop.results.findings import Finding, FindingKind
from guestloop.results.good_rounds import GoodRound, by_cell, read_good_rounds
from guestloop.results.records import Correctness, Outcome

OLD, NEW = "6.1.158-1", "6.12.117-1"
STORE = "h.jsonl.gz"


def rows_of(*runs: Run) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render_table(runs, lambda _: Steady()))))


def test_a_row_for_each_path_of_each_cell_and_kernel(tmp_path: Path) -> None:
    run = read_run(releases(tmp_path / "one", {OLD: (2000, 2010), NEW: (1000, 990)}))
    rows = rows_of(run)
    assert tuple(rows[0]) == COLUMNS and len(rows) == 2 * 2 * 3
    first = rows[1]
    assert (first["kernel"], first["version"], first["started"]) == (OLD, OLD, "2026-04-08T09:31:07+00:00")
    assert first["sha256"] == package(OLD).sha256[:16]
    assert (first["cell"], first["path"], first["weight"]) == (SHADOW.id, "async_page_ready", "judged")
    assert (first["rounds"], first["requests"], first["work"]) == ("2", "4010", "16384")
    assert (first["unit"], first["contents"]) == ("page visited", "pass")
    assert float(first["rate"]) == pytest.approx(4010 / 16384, rel=1e-5)
    assert float(first["low"]) < float(first["rate"]) < float(first["high"])
    paths = ["all flush requests", "async_page_ready", "mmu_notifier_unmap"]
    assert [row["path"] for row in rows[:3]] == paths
    assert {row["setting"] for row in rows} == {run.setting.id}


def test_a_path_that_one_kernel_has_seen_is_a_zero_or_absent_on_others(tmp_path: Path) -> None:
    kernels = [package(OLD), package(NEW), package("7.2-1")]
    rounds = rounds_for(kernels, [SHADOW], [(5,), (5,), (5,)])
    paths = {"async_page_ready": 5, "mmu_notifier_unmap": 95, "zap": 7}
    rounds[0] = replace(rounds[0], paths=paths, counters={"remote_tlb_flush_requests": 107})
    rounds[1] = replace(rounds[1], absent_paths=("zap",))
    rows = rows_of(read_run(write_run(tmp_path, plan_for(kernels, [SHADOW], "r", 1), rounds)))
    zaps = {row["kernel"]: (row["requests"], row["rate"]) for row in rows if row["path"] == "zap"}
    assert zaps == {OLD: ("7", f"{7 / 8192:.6g}"), NEW: ("", ""), "7.2-1": ("0", "0")}


def test_a_cell_without_rates_says_what_became_of_its_contents(tmp_path: Path) -> None:
    kernels = [package(OLD), package(NEW)]
    rounds = rounds_for(kernels, [SHADOW, TDP], [(5,), (5,)])
    lost = (Finding(FindingKind.CONTENTS, "lost"), Finding(FindingKind.TIMED_OUT, "late"))
    rounds[1] = replace(rounds[1], outcome=Outcome.INVALID, correctness=Correctness.FAIL, findings=lost)
    rounds[3] = replace(rounds[3], outcome=Outcome.SKIPPED, findings=(Finding(FindingKind.LACKING, "no"),))
    rows = rows_of(read_run(write_run(tmp_path, plan_for(kernels, [SHADOW, TDP], "r", 1), rounds)))
    without = {row["cell"]: (row["contents"], row["rounds"], row["rate"]) for row in rows if not row["path"]}
    assert without == {SHADOW.id: ("fail", "0", ""), TDP.id: ("not-run", "0", "")}


def test_hostile_names_stay_one_field_and_are_computed_by_no_spreadsheet(tmp_path: Path) -> None:
    kernels = [
        package(OLD, name='=cmd|"/C calc"!A1', release='a,"b"\n\x1b[31mc'),
        package(NEW, name="<script>", series=("+1.patch", "@x\x00.patch")),
    ]
    rounds = rounds_for(kernels, [SHADOW], [(5,), (5,)])
    run = read_run(write_run(tmp_path, plan_for(kernels, [SHADOW], "r", 1), rounds))
    text = render_table([run], lambda _: Steady())
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 2 * 3 and len(text.splitlines()) == 7
    assert rows[0]["kernel"] == '\'=cmd|"/C calc"!A1' and rows[0]["release"] == 'a,"b" c'
    assert rows[-1]["series"] == "'+1.patch; @x\\x00.patch" and "\x00" not in text


# --- the command -----------------------------------------------------------------------------------


def history(*words: str | Path) -> int:
    return cli.main(["history", *map(str, words)])


def test_results_are_added_and_the_table_is_made_without_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = releases(tmp_path / "one", {OLD: (2000,), NEW: (1000,)})
    two = releases(tmp_path / "two", {NEW: (1000,), "7.2-1": (900,)})
    store = tmp_path / "kept" / STORE
    assert history("--store", store, one) == Exit.OK
    assert "1 result: 1 added; 1 in the history" in capsys.readouterr().err
    assert history("--store", store, one, two) == Exit.OK
    assert "2 results: 1 added, 1 there already; 2 in the history" in capsys.readouterr().err
    made = [(store.parent / name).read_text() for name in (PAGE, TABLE)]
    assert history("--store", store, "--out", tmp_path / "again") == Exit.OK
    assert [(tmp_path / "again" / name).read_text() for name in (PAGE, TABLE)] == made
    assert sorted(path.name for path in store.parent.iterdir()) == [STORE, TABLE, PAGE]


def test_without_a_store_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert record(Wanted((releases(tmp_path / "one", {OLD: (2000,), NEW: (1000,)}),))) is Exit.OK
    assert {path.name for path in (tmp_path / "results/history").iterdir()} == {PAGE, TABLE}


def test_a_result_that_is_none_adds_nothing_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = releases(tmp_path / "one", {OLD: (2000,), NEW: (1000,)})
    (tmp_path / "empty").mkdir()
    store = tmp_path / "kept" / STORE
    assert history("--store", store, one, tmp_path / "empty") == Exit.USAGE
    assert "empty: no verdict.json in it" in capsys.readouterr().err
    assert not store.parent.exists()


def test_an_older_result_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = releases(tmp_path / "one", {OLD: (2000,), NEW: (1000,)})
    verdict = one / "verdict.json"
    verdict.write_text(verdict.read_text().replace('"schema_version": 6', '"schema_version": 5'))
    assert history(one) == Exit.USAGE
    said = capsys.readouterr().err
    assert "it has schema 5" in said and f"hint: scripts/compare {one} makes it anew" in said


def test_nothing_at_all_is_a_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert history("--store", tmp_path / "kept" / STORE) == Exit.USAGE
    assert "there is no result to make a history of" in capsys.readouterr().err
    assert history() == Exit.USAGE and not (tmp_path / "kept").exists()


def test_a_store_that_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    one = releases(tmp_path / "one", {OLD: (2000,), NEW: (1000,)})
    store = tmp_path / STORE
    store.write_text("mine")
    with pytest.raises(ConfigError, match="cannot be read as a history"):
        record(Wanted((one,), store))
    assert store.read_text() == "mine" and not (tmp_path / TABLE).exists()


def test_a_history_that_is_only_rendered_again_is_not_written(tmp_path: Path) -> None:
    store = tmp_path / STORE
    write_store(store, [read_run(releases(tmp_path / "one", {OLD: (2000,), NEW: (1000,)}))])
    store.chmod(0o444)
    before = store.stat().st_mtime_ns, store.stat().st_ino
    assert record(Wanted((), store)) is Exit.OK
    assert (store.stat().st_mtime_ns, store.stat().st_ino) == before
    assert len(read_store(store)) == 1


# --- what calibration learns from it ---------------------------------------------------------------


def test_rounds_of_a_history_are_learnt_from_kernel_by_kernel(tmp_path: Path) -> None:
    one = releases(tmp_path / "one", {OLD: (2000, 2010, 1990), NEW: (100, 101, 99)}, (SHADOW,))
    two = releases(tmp_path / "two", {NEW: (100,), "7.2-1": (50,)}, (SHADOW,))
    kept = tmp_path / "calibration"
    assert history("--store", tmp_path / STORE, "--calibration", kept, one, two) == Exit.OK
    (path,) = kept.iterdir()
    good = read_good_rounds(path)
    assert [len(group) for group in by_cell(good)] == [3, 4], "a round that is alone shows nothing"
    assert {item.sitting for item in good} == {"one", "two"}
    known = learn(by_cell(good)).scatter(SHADOW.id, SHADOW.test, "async_page_ready per page visited", 2000)
    assert known.calibrated and known.scatter.cv2 < 0.05**2, "kernels differ by 20, rounds of one by less"


def test_what_others_have_calibrated_stays_and_nothing_is_there_twice(tmp_path: Path) -> None:
    one = releases(tmp_path / "one", {OLD: (2000, 2010), NEW: (100, 101)}, (SHADOW,))
    kept = tmp_path / "calibration"
    run = read_run(one)
    own = [GoodRound("1", item) for item in run.rounds if item.kernel == OLD]
    path = store(run.run_class, own, kept)
    for _ in range(2):
        assert history("--out", tmp_path / "out", "--calibration", kept, one) == Exit.OK
        assert [(item.sitting, bool(item.build)) for item in read_good_rounds(path)] == [
            *[("1", False)] * 2,
            *[("one", True)] * 4,
        ]


def test_wrong_and_patched_and_disturbed_rounds_teach_nothing(tmp_path: Path) -> None:
    kernels = [package(OLD), package(NEW), package(OLD, name="patched", series=("x.patch",), sha256="b" * 64)]
    rounds = rounds_for(kernels, [SHADOW], [(5, 5), (5, 5), (5, 5)])
    rounds[0] = replace(rounds[0], correctness=Correctness.FAIL)
    rounds[2] = replace(rounds[2], probed=Probed({"kvm:f": 1}, {}, 1))
    run = read_run(write_run(tmp_path, plan_for(kernels, [SHADOW], "r"), rounds))
    assert good_rounds_of([run]) == {}
