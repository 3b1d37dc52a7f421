# SPDX-License-Identifier: GPL-2.0-or-later
"""What a history keeps of results, the file that keeps it, and the series that runs are joined to."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from histories import HOST, PATCHED, WAY, package, plan_for, read_run, ready, releases, rounds_for, write_run
from samples import L2_KERNEL, SHADOW, TDP

from guestloop.ground.errors import ConfigError
from guestloop.history.runs import Run, reduce_result
from guestloop.history.series import series_of
from guestloop.history.store import merge, read_store, write_store
from guestloop.report import read_result
from guestloop.results.changes import Probed
from guestloop.results.files import locked
from guestloop.results.findings import Finding, FindingKind
from guestloop.results.records import Correctness, Outcome
from guestloop.results.sizes import USUAL, Sizes

OLD, NEW, NEWER = "6.1.158-1", "6.12.117-1", "7.2~rc3-1~exp1"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("history") / "one"
    return read_run(releases(out, {OLD: (2000, 2010), NEW: (1000, 990)}, (SHADOW, WAY)))


# --- what is kept ----------------------------------------------------------------------------------


def test_of_a_result_all_is_kept_that_a_verdict_compares(tmp_path: Path) -> None:
    result = read_result(releases(tmp_path / "one", {OLD: (2000, 2010), NEW: (1000, 990)}, (SHADOW, WAY)))
    run = reduce_result(result)
    assert (run.id, run.date, run.accelerator, run.l2_kernel) == ("one", "2026-04-08", "tcg", L2_KERNEL)
    assert run.host == {name: HOST[name] for name in ("cpu", "cpus", "qemu")}
    assert run.l2_payload == "f" * 64 and run.looks == (2,)
    assert [(one.version, one.origin.suite, one.origin.sha256) for one in run.kernels] == [
        (OLD, "sid", {}),
        (NEW, "sid", {}),
    ]
    rounds = [item for cell in result.cells for item in cell.rounds]
    assert [(item.counters, item.paths, item.events, item.work) for item in run.rounds] == [
        (item.counters, item.paths, item.events, item.work) for item in rounds
    ]
    assert not any(item.facts or item.phases or item.evidence for item in run.rounds)
    assert [item.cell.id for item in run.rounds][-1] == "migration/tdp/mix,way=precopy"


def test_runs_of_other_sizes_are_of_another_setting(tmp_path: Path) -> None:
    """Those of the usual ones keep the name that they always had."""
    usual = read_run(releases(tmp_path / "one", {OLD: (2000, 2010), NEW: (1000, 990)}))
    large = read_run(releases(tmp_path / "two", {OLD: (2000,), NEW: (1000,)}, sizes=Sizes.of(4)))
    assert usual.sizes == USUAL and usual.setting.host == tuple(
        (name, HOST[name]) for name in ("cpu", "cpus", "qemu")
    )
    assert large.sizes == Sizes.of(4) and large.run_class != usual.run_class
    assert large.setting.host == (*usual.setting.host, ("sizes", str(Sizes.of(4))))
    assert str(large.setting).endswith(f", sizes {Sizes.of(4)}")
    write_store(tmp_path / "store", [usual, large])
    assert read_store(tmp_path / "store") == (usual, large)


def test_findings_keep_their_kind_and_first_line_and_probes_whether_they_disturbed(tmp_path: Path) -> None:
    kernels = [package(OLD), package(NEW)]
    rounds = rounds_for(kernels, [SHADOW], [(2000,), (2000,)])
    finding = Finding(FindingKind.CONTENTS, f"34 pages were lost {'x' * 300}\nand more")
    rounds[1] = replace(
        rounds[1],
        findings=(finding,),
        correctness=Correctness.FAIL,
        probed=Probed({"kvm:f": 9}, {"kvm:g": "why"}, 9),
    )
    run = read_run(write_run(tmp_path, plan_for(kernels, [SHADOW], "r", 1), rounds))
    (kept,) = run.rounds[1].findings
    assert kept.kind is FindingKind.CONTENTS and kept.text == finding.text[:200]
    assert run.rounds[1].is_wrong and run.rounds[1].is_disturbed
    assert run.rounds[1].probed == Probed(disturbing=9)


def test_a_kernel_that_was_not_built_is_left_out(tmp_path: Path) -> None:
    from samples import failed

    kernels = [package(OLD), package(NEW), failed(name="typo")]
    rounds = rounds_for(kernels[:2], [SHADOW], [(2000,), (2000,)])
    run = read_run(write_run(tmp_path, plan_for(kernels, [SHADOW], "r", 1), rounds))
    assert [one.name for one in run.kernels] == [OLD, NEW]


def test_results_without_an_id_are_told_apart_by_their_rounds(tmp_path: Path) -> None:
    first = read_run(releases(tmp_path / "a", {OLD: (2000,), NEW: (1000,)}, run_id=""))
    again = read_run(releases(tmp_path / "b", {OLD: (2000,), NEW: (1000,)}, run_id=""))
    other = read_run(releases(tmp_path / "c", {OLD: (2000,), NEW: (1001,)}, run_id=""))
    assert first.id.startswith("sha256:") and first.id == again.id != other.id


# --- the file --------------------------------------------------------------------------------------


def test_what_is_written_is_read_and_the_same_runs_make_the_same_bytes(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "h.jsonl.gz"
    assert read_store(path) == ()
    write_store(path, [run])
    first = path.read_bytes()
    assert read_store(path) == (run,)
    write_store(path, read_store(path))
    assert path.read_bytes() == first
    assert len(first) < 8000


def test_a_run_is_added_once(run: Run) -> None:
    merged = merge([run], [run, replace(run, id="two"), replace(run, id="two")])
    assert [one.id for one in merged.runs] == ["one", "two"]
    assert [one.id for one in merged.added] == ["two"] and merged.grown == ()
    assert not merge([run], [run]).changed


def test_a_run_that_was_resumed_takes_the_place_of_what_there_was_of_it(run: Run) -> None:
    short = replace(run, rounds=run.rounds[:-1])
    merged = merge([short], [run])
    assert merged.runs == (run,) and merged.grown == (run,) and merged.changed
    assert merge([run], [short]).runs == (run,), "and an older copy adds nothing"


def test_two_results_of_one_id_that_are_not_one_run_are_refused(run: Run) -> None:
    first, last = (replace(run, rounds=rounds) for rounds in (run.rounds[1:], run.rounds[:-1]))
    with pytest.raises(ConfigError, match="run one: 1 of its rounds are in the history and not in this"):
        merge([first], [last])


def test_runs_are_ordered_by_date(run: Run) -> None:
    older = replace(run, id="z", started="2025-01-01T00:00:00+00:00")
    assert [one.id for one in merge([run], [older]).runs] == ["z", "one"]


def gz(*lines: object) -> bytes:
    return gzip.compress("".join(f"{json.dumps(line)}\n" for line in lines).encode(), mtime=0)


HEADER = {"guestloop": "history", "version": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read as a history: ValueError"),
        (b"{}", "cannot be read as a history: BadGzipFile"),
        (gz(HEADER)[:-9], "cannot be read as a history: EOFError"),
        (gz("x", {}), "it begins with 'x', wanted"),
        (gz({**HEADER, "version": 2}), r"it begins with .*'version': 2}, wanted .*'version': 1}"),
        (
            gz(HEADER, {"id": 3}),
            "CodecError: line 2.id: str was wanted, seen: 3",
        ),
        (gz(HEADER, {}), "line 2: id is missing"),
        (gzip.compress(b"\xff\xfe", mtime=0), "cannot be read as a history: UnicodeDecodeError"),
        (gz(HEADER) + gzip.compress(b"{nonsense\n", mtime=0), "cannot be read as a history: JSONDecodeError"),
    ],
)
def test_a_file_that_is_no_history_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "h.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as raised:
        read_store(path)
    assert str(raised.value).startswith(str(path)) and "\n" not in str(raised.value)


def test_an_interrupted_write_leaves_the_file_as_it_was(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "h.jsonl.gz"
    write_store(path, [run])
    with (
        mock.patch.object(Path, "replace", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        write_store(path, [run, replace(run, id="two")])
    assert read_store(path) == (run,) and list(tmp_path.iterdir()) == [path]


def test_whoever_adds_to_a_file_keeps_others_from_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "h.jsonl.gz"
    with locked(path.parent), open_directory(path.parent) as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with open_directory(path.parent) as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def open_directory(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


# --- series ----------------------------------------------------------------------------------------


def test_kernels_are_ordered_by_version_as_dpkg_does(tmp_path: Path) -> None:
    flushes = {NEWER: (10,), NEW: (10,), "6.12.9-1": (10,), OLD: (10,), "7.2-1": (10,)}
    (series,) = series_of([read_run(releases(tmp_path / "r", flushes))])
    assert [one.label for one in series.kernels] == [OLD, "6.12.9-1", NEW, NEWER, "7.2-1"]
    assert series.kernels[0].dates == ("2026-04-08",)


def test_runs_of_one_kernel_are_joined_and_partners_stay_partners(tmp_path: Path) -> None:
    runs = [
        read_run(releases(tmp_path / "a", {OLD: (1, 2), NEW: (3, 4)}, (SHADOW,))),
        read_run(releases(tmp_path / "b", {NEW: (5,), "7.2-1": (6,)}, (SHADOW,))),
    ]
    (series,) = series_of(runs)
    numbers = {
        one.label: {item.round: item.paths["async_page_ready"] for item in one.rounds}
        for one in series.kernels
    }
    assert numbers == {OLD: {1: 1, 2: 2}, NEW: {1: 3, 2: 4, 3: 5}, "7.2-1": {3: 6}}
    assert [item.kernel for item in series.kernels[1].rounds] == [NEW] * 3
    assert [run.id for run in series.kernels[1].runs] == ["a", "b"] and series.looks == (1, 2)


def test_a_kernel_against_itself_is_one_kernel_with_all_rounds(tmp_path: Path) -> None:
    twin = package(OLD, name="twin")
    kernels = [package(OLD), twin]
    rounds = rounds_for(kernels, [SHADOW], [(1, 2), (3, 4)])
    rounds[3] = replace(rounds[3], repeats=1)
    (series,) = series_of([read_run(write_run(tmp_path, plan_for(kernels, [SHADOW], "r"), rounds))])
    (kernel,) = series.kernels
    seen = {item.round: item.paths["async_page_ready"] for item in kernel.rounds}
    assert seen == {1: 1, 2: 2, 3: 3, 4: 4}
    assert [item.repeats for item in kernel.rounds if item.repeats] == [3]


@pytest.mark.parametrize(
    "other",
    [
        {"accelerator": "kvm"},
        {"host": {**HOST, "cpu": "Xeon"}},
        {"host": {**HOST, "qemu": "8.0"}},
        {"l2_kernel": replace(L2_KERNEL, build_id="99" * 20)},
    ],
)
def test_another_l2_accelerator_or_host_is_another_series(run: Run, other: dict[str, Any]) -> None:
    two = series_of([run, replace(run, id="two", **other)])
    assert [len(one.kernels) for one in two] == [2, 2]
    assert len({one.setting.id for one in two}) == 2 and two[0].setting.id == run.setting.id


def test_what_says_nothing_about_the_machine_splits_no_series(run: Run) -> None:
    host = {**HOST, "accelerator_reason": "another", "memory_mib": "5"}
    (series,) = series_of([run, replace(run, id="two", profile="lab", host=host)])
    assert len(series.kernels[0].rounds) == 2 * len([one for one in run.rounds if one.kernel == OLD])


def test_patched_kernels_are_named_and_not_in_the_series(tmp_path: Path) -> None:
    kernels = [package(OLD), package(OLD, name="patched", series=(PATCHED,), sha256="b" * 64)]
    rounds = rounds_for(kernels, [SHADOW], [(1, 2), (3, 4)])
    (series,) = series_of([read_run(write_run(tmp_path, plan_for(kernels, [SHADOW], "r"), rounds))])
    assert [one.label for one in series.kernels] == [OLD] and series.patched == ("patched",)


def test_two_builds_of_one_version_have_two_labels(tmp_path: Path) -> None:
    kernels = [package(OLD), package(OLD, name="rebuilt", sha256="b" * 64)]
    rounds = rounds_for(kernels, [SHADOW], [(1, 2), (3, 4)])
    (series,) = series_of([read_run(write_run(tmp_path, plan_for(kernels, [SHADOW], "r"), rounds))])
    assert {one.label for one in series.kernels} == {f"{OLD}#{'b' * 8}", f"{OLD}#{package(OLD).sha256[:8]}"}


def test_only_rounds_that_prove_their_work_undisturbed_give_rates(tmp_path: Path) -> None:
    kernels = [package(OLD), package(NEW)]
    rounds = rounds_for(kernels, [SHADOW], [(1, 2, 3), (3, 4, 5)])
    rounds[1] = replace(rounds[1], probed=Probed({"kvm:f": 9}, {}, 9))
    rounds[2] = replace(
        rounds[2], outcome=Outcome.INVALID, findings=(Finding(FindingKind.NOT_PROVEN, "no event"),)
    )
    (series,) = series_of([read_run(write_run(tmp_path, plan_for(kernels, [SHADOW], "r", 3), rounds))])
    assert [item.round for item in series.kernels[0].on(SHADOW)] == [1, 2, 3]
    assert [item.round for item in series.kernels[0].rated(SHADOW)] == [1]
    assert series.kernels[0].on(TDP) == ()


@pytest.mark.parametrize("release", ["", "a:b", "<script>", "6.1\x1b[31m", "-", "~rc", "\u0663.\u0661"])
def test_any_release_has_a_place(tmp_path: Path, release: str) -> None:
    from samples import REFERENCE

    kernels = [replace(REFERENCE, name="odd", release=release), package(NEW)]
    rounds = rounds_for(kernels, [SHADOW], [(1,), (3,)])
    (series,) = series_of([read_run(write_run(tmp_path, plan_for(kernels, [SHADOW], "r", 1), rounds))])
    assert len(series.kernels) == 2 and all("\x1b" not in one.label for one in series.kernels)
    assert ready(SHADOW, "odd", 1, 1).kernel == "odd"
