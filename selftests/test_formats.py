# SPDX-License-Identifier: GPL-2.0-or-later
"""All files of a report say the same of the same run, and nothing that a result holds does harm in any."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from formats import NO_ROUND, READERS, SENDER, judged, material, same_build
from samples import CANDIDATE, REFERENCE, compare, failed, plan_of, rounds_of
from test_report import A, B, C, make_result, make_result_of_three

from guestloop.compare import KernelState, Overall, Status
from guestloop.config import REPOSITORY
from guestloop.ground.errors import Kind
from guestloop.report import FORMATS, read_result, write_formats, write_verdict
from guestloop.report.checks import OVERALL, Check, Mark, checks_of
from guestloop.report.material import Material
from guestloop.results.findings import Finding, FindingKind
from guestloop.results.origin import Origin, OriginKind
from guestloop.results.plan import Kernels
from guestloop.results.provenance import ConfigRecord, PatchRecord, Provenance
from guestloop.results.sittings import Ending, Sitting

DOC = (REPOSITORY / "docs/ci/README.md").read_text()
NAMES = tuple(READERS)
PROGRAMS = ("junit.xml", "results.ktap", "kcidb.json", "lava.txt")
"""Files that say something of each check."""


def table(first: str) -> list[dict[str, str]]:
    """The rows of the table in docs/ci/README.md with this first column, by header."""
    found = re.search(rf"^(\| {first} \|.*)\n\|[-|]+\|\n((?:\|.*\n)+)", DOC, re.MULTILINE)
    assert found, first
    rows = [[cell.strip(" `") for cell in row.strip("| ").split("|")] for row in found[0].splitlines()]
    header, _, *body = rows
    return [dict(zip(header, row, strict=True)) for row in body]


def said_of(check: Check, made: Material) -> dict[str, str]:
    """What each file says of a check; empty where it says nothing."""
    files = {name: reader.read(FORMATS[name](made)) for name, reader in READERS.items()}
    return {name: files[name].get(reader.key(check), "") for name, reader in READERS.items()}


# --- the same in all ------------------------------------------------------------------------------


def test_every_file_has_a_reader_and_a_column() -> None:
    assert set(FORMATS) == set(READERS)
    assert set(table("status")[0]) == {"status", *FORMATS}
    assert set(table("verdict")[0]) == {"verdict", *FORMATS, "exit"}


@pytest.mark.parametrize("row", table("status"), ids=lambda row: row["status"])
def test_a_cell_has_the_same_status_in_all(row: dict[str, str]) -> None:
    made = material(*judged(row["status"].replace("` ", " "), "same"))
    (check, other) = (one for one in checks_of(made.result) if one.group == "asyncpf")
    assert said_of(check, made) == {name: row[name] for name in NAMES}
    assert said_of(other, made) == {
        name: word if READERS[name].says_all else row[name] for name, word in SAME.items()
    }
    assert made.result.cells[0].status == row["status"].partition("`")[0].partition(" ")[0]


SAME = next({name: row[name] for name in NAMES} for row in table("status") if row["status"] == Status.SAME)


def test_no_status_is_missing() -> None:
    rows = [row["status"].replace("` ", " ") for row in table("status")]
    assert sorted(rows) == sorted([*Status, NO_ROUND])


VERDICTS: Mapping[Overall, tuple[str, ...]] = {
    Overall.REGRESSION: ("more", "same"),
    Overall.UNSTABLE: ("inconclusive", "same"),
    Overall.NOTHING_MEASURED: ("invalid", "skipped"),
    Overall.INCONCLUSIVE: ("inconclusive", "same"),
    Overall.NO_REGRESSION: ("fewer", "skipped"),
}


@pytest.mark.parametrize("row", table("verdict"), ids=lambda row: row["verdict"])
def test_a_run_has_the_same_verdict_in_all(row: dict[str, str]) -> None:
    word = Overall(row["verdict"])
    plan, verdict = judged(*VERDICTS[word], overall=word)
    made = material(same_build(plan) if word is Overall.UNSTABLE else plan, verdict)
    check = checks_of(made.result)[0]
    assert said_of(check, made) == {name: row[name] for name in NAMES}
    assert (made.result.exit_status, made.result.verdict) == (int(row["exit"]), word)
    assert set(VERDICTS) == set(Overall) == set(OVERALL)


def test_all_statuses_at_once(tmp_path: Path) -> None:
    """Through the files themselves."""
    statuses = [*Status, NO_ROUND]
    write_verdict(tmp_path, *judged(*statuses))
    assert write_formats(tmp_path, SENDER) == tuple(tmp_path / name for name in FORMATS)
    checks = [one for one in checks_of(read_result(tmp_path)) if one.group == "asyncpf"]
    rows = {row["status"].replace("` ", " "): row for row in table("status")}
    for name, reader in READERS.items():
        said = reader.read((tmp_path / name).read_text())
        if reader.says_all:
            assert [said[reader.key(check)] for check in checks] == [rows[one][name] for one in statuses], (
                name
            )
    assert {path.name for path in tmp_path.iterdir()} == {"verdict.json", *FORMATS}


def test_reasons_are_in_every_file_that_people_read() -> None:
    made = material(*judged("broken", "invalid", "inconclusive", "skipped"))
    for name in ("junit.xml", "results.ktap", "kcidb.json", "mail.txt"):
        text = FORMATS[name](made)
        assert all(f"reason {number}" in text for number in range(4)), name
    junit = ElementTree.fromstring(FORMATS["junit.xml"](made))
    messages = [one.get("message") for one in junit.iter() if one.get("message")]
    assert messages[1:] == [
        "broken: reason 0",
        "invalid: reason 1",
        "inconclusive: reason 2",
        "skipped: reason 3",
    ]


def test_figures_are_in_every_file_for_programs() -> None:
    made = material(*make_result("fewer"))
    properties = {
        one.get("name"): one.get("value")
        for one in ElementTree.fromstring(FORMATS["junit.xml"](made)).iter("property")
    }
    assert properties["async_page_ready.unpatched"] == "0.413372"
    assert properties["async_page_ready.unit"] == "page-ready event"
    assert properties["async_page_ready.change"] == "fewer"
    (test,) = [one for one in json.loads(FORMATS["kcidb.json"](made))["tests"] if "number" in one]
    assert test["number"] == {
        "value": pytest.approx(1 / 5160),
        "unit": "async_page_ready per page-ready event",
    }
    assert test["path"] == "guestloop.asyncpf.shadow.read-shared"
    assert (
        "lava-test-case asyncpf.shadow.read-shared --result pass --measurement 0.000193798"
        " --units async_page_ready/page-ready-event\n" in FORMATS["lava.txt"](made)
    )
    ktap = FORMATS["results.ktap"](made)
    assert "  # figure: async_page_ready 0.413 -> 0.00019 per page-ready event, fewer\n" in ktap


# --- kernels, and runs that came to no good end ---------------------------------------------------


def check_of(made: Material, name: str) -> Check:
    (check,) = [one for one in checks_of(made.result) if one.name == name]
    return check


def test_a_candidate_that_does_not_compile_fails_everywhere() -> None:
    plan = replace(plan_of(REFERENCE, failed()), l2_kernel=None)
    made = material(plan, compare(plan, []))
    check = check_of(made, "broken")
    assert (check.mark, check.status) == (Mark.FAIL, "not-built")
    said = said_of(check, made)
    assert said == {**said, "junit.xml": "failure", "results.ktap": "not ok", "lava.txt": "fail"}
    assert said["mail.txt"] == "Reported-by" and said["kcidb.json"] == "", "it is a build there"
    document = json.loads(FORMATS["kcidb.json"](made))
    assert [build["status"] for build in document["builds"]] == ["PASS", "FAIL"]
    assert "'x' undeclared" in document["builds"][1]["log_excerpt"]
    assert [(test["path"], test["status"]) for test in document["tests"]] == [("boot", "MISS")]
    assert "    6 |   x = 1;" in FORMATS["mail.txt"](made)


def test_a_candidate_that_does_not_apply_is_an_error_and_no_failure() -> None:
    plan = plan_of(REFERENCE, failed(Kind.NOT_APPLIED), CANDIDATE)
    made = material(plan, compare(plan, rounds_of({A: (420, 430), B: (0, 0)})))
    check = check_of(made, "broken")
    assert (check.mark, check.status) == (Mark.ERROR, "not-applied")
    document = json.loads(FORMATS["kcidb.json"](made))
    assert [checkout["valid"] for checkout in document["checkouts"]] == [True, False, True]
    assert len(document["builds"]) == 2
    lines = FORMATS["mail.txt"](made).splitlines()
    assert lines[-2:] == ["(no tag: what is said above is open) # B", f"Tested-by: {SENDER} # C"]


def test_a_kernel_that_complains_late_is_open() -> None:
    plan, verdict = make_result("same")
    late = replace(verdict.kernels[B], late=("WARNING: at mmu.c:1",))
    made = material(
        plan, replace(verdict, overall=Overall.INCONCLUSIVE, kernels={**verdict.kernels, B: late})
    )
    check = check_of(made, B)
    assert (check.mark, check.reason) == (Mark.OPEN, "complained after its last round: WARNING: at mmu.c:1")
    assert said_of(check, made)["kcidb.json"] == "DONE"
    assert said_of(check, made)["mail.txt"] == "no tag"


def test_a_reference_that_does_not_boot_is_an_error() -> None:
    plan, verdict = judged("invalid", overall=Overall.NOTHING_MEASURED)
    gone = replace(verdict.kernels[A], state=KernelState.NOT_BOOTED, reason="it hangs", console=("[ 0.1] x",))
    made = material(plan, replace(verdict, kernels={**verdict.kernels, A: gone}))
    check = check_of(made, A)
    assert (check.mark, check.details) == (Mark.ERROR, ("[ 0.1] x",))
    assert said_of(check, made)["mail.txt"] == "not for the list"


def test_an_interrupted_run_says_so_and_earns_no_tag() -> None:
    sitting = Sitting(1, 0, (2,), None, ending=Ending.INTERRUPTED)
    made = material(*judged("same", NO_ROUND), sittings=[sitting])
    assert checks_of(made.result)[0].reason == "interrupted; 2 cells"
    mail = FORMATS["mail.txt"](made)
    assert mail.startswith("guestloop: interrupted; inconclusive: 2 cells\n") and "Tested-by" not in mail
    assert "asyncpf/shadow/cell-1,vcpus=2: invalid: reason 1" in mail


def test_a_run_with_nothing_measured_has_every_file() -> None:
    plan = replace(plan_of(REFERENCE, CANDIDATE), host={}, accelerator="kvm")
    made = material(plan, compare(plan, []))
    assert made.result.verdict is Overall.NOTHING_MEASURED
    for name, reader in READERS.items():
        assert reader.read(FORMATS[name](made)), name
    assert "no round was measured" in FORMATS["results.ktap"](made)


def test_with_three_kernels_each_candidate_has_checks_of_its_own() -> None:
    made = material(*make_result_of_three("more", "fewer"))
    assert check_of(made, f"asyncpf/shadow/read-own on {B}").mark is Mark.FAIL
    check = check_of(made, f"asyncpf/shadow/read-own on {C}")
    assert (check.mark, check.id, check.path) == (
        Mark.PASS,
        "asyncpf.shadow.read-own.patched-v2",
        "asyncpf.shadow.read-own",
    )
    for name in PROGRAMS:
        said = READERS[name].read(FORMATS[name](made))
        assert len(said) == len(checks_of(made.result)) - (name == "kcidb.json"), name
    lines = FORMATS["mail.txt"](made).splitlines()
    assert lines[-2:] == [f"Reported-by: {SENDER} # B", f"Tested-by: {SENDER} # C"]


def test_marks_and_verdict_never_contradict() -> None:
    for statuses in (("more",), ("broken", "skipped"), ("same", "skipped"), ("fewer",), ("invalid", "same")):
        result = material(*judged(*statuses)).result
        verdict, *marks = [check.mark for check in checks_of(result)]
        assert (verdict is Mark.FAIL) == (Mark.FAIL in marks)
        assert (verdict is Mark.PASS) == (set(marks) <= {Mark.PASS, Mark.SKIP})


# --- text that means harm -------------------------------------------------------------------------

EVIL = (
    "<script>alert(1)</script> ]]> &amp; \"quoted\" 'single' `id` $(touch pwned) ; touch pwned # SKIP no\n"
    "not ok 1 evil\n1..7\n# Subtest: evil\nKTAP version 1\nBail out!\n"
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x00 \x08 \x9b31m \ufffe \ud800 \u202e \u2028 \r\n\t=a <b> =\n"
    "Kernel panic - not syncing: VFS: Unable to mount root\nList of all partitions:\nreboot: System halted\n"
)


def marked(text: str, mark: str) -> str:
    return f"{text} {mark}" if mark else text


def with_text(mark: str) -> Material:
    """A result with this in every place that a text can come from."""
    plan, verdict = make_result("broken", "fewer", "skipped")
    reference, candidate = plan.kernels
    name = marked("evil", mark)
    patch = PatchRecord(mark, marked("[PATCH] fix", mark), "d" * 64, f"<{mark}@x>")
    kernels = Kernels(
        replace(reference, base=mark, release=mark, origin=Origin(OriginKind.BUILT, mark, mark, mark)),
        (
            replace(
                candidate,
                name=name,
                series=(mark,),
                release=mark,
                provenance=Provenance(mark, "", "", (patch,), ConfigRecord((mark,)), (mark,)),
                build_ids={mark: mark},
            ),
        ),
    )
    cells = {
        cell.cell.id: replace(
            cell.cell, variant={key: marked(one, mark) for key, one in cell.cell.variant.items()}
        )
        for cell in verdict.cells
    }
    rounds = [
        replace(
            item,
            cell=cells[item.cell.id],
            kernel={A: A, B: name}[item.kernel],
            findings=tuple(replace(one, text=marked(one.text, mark)) for one in item.findings)
            or ((Finding(FindingKind.CONTENTS, mark),) if item.correctness == "fail" else ()),
            evidence=(mark,),
            paths={**item.paths, f"other:{mark}": 0},
        )
        for cell in verdict.cells
        for item in cell.rounds
    ]
    plan = replace(
        plan,
        kernels=kernels,
        cells=tuple(cells.values()),
        host={mark: mark, "cpu": mark},
        left_out=(mark,),
        arguments=("run", mark),
        directory=marked("/tmp", mark),
    )
    return replace(material(plan, compare(plan, rounds, {name: (mark,)})), sender=marked("Jane", mark))


@pytest.fixture(scope="module")
def hostile() -> Material:
    return with_text(EVIL)


@pytest.mark.parametrize("name", FORMATS)
def test_no_character_acts_in_any_file(name: str, hostile: Material) -> None:
    text = FORMATS[name](hostile)
    assert "alert(1)" in text or name == "lava.txt"
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e\ud800-\udfff\ufffe]", text)


@pytest.mark.parametrize("name", NAMES)
def test_hostile_text_changes_nothing_that_a_file_says(name: str, hostile: Material) -> None:
    tame, reader = with_text(""), READERS[name]
    said, wanted = (reader.read(FORMATS[name](made)) for made in (hostile, tame))
    assert list(said.values()) == list(wanted.values())
    if name in ("junit.xml", "kcidb.json", "lava.txt"):  # the others show names in a form of their own
        assert {reader.key(check) for check in checks_of(hostile.result)[1:]} <= said.keys()


def test_markup_is_text_in_xml(hostile: Material) -> None:
    root = ElementTree.fromstring(FORMATS["junit.xml"](hostile))
    known = {"testsuites", "testsuite", "testcase", "properties", "property", "failure", "error", "skipped"}
    assert {element.tag for element in root.iter()} == known - {"error"}
    assert any(
        "<script>alert(1)</script> ]]> &amp;" in (element.text or "") for element in root.iter("failure")
    )


def test_the_shell_of_lava_runs_nothing_else(hostile: Material, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin/lava-test-case"
    tool.write_text('#!/bin/sh\necho "$#"\n')
    tool.chmod(0o755)
    (tmp_path / "cwd").mkdir()
    file = tmp_path / "lava.txt"
    file.write_text(FORMATS["lava.txt"](hostile))
    environment = {"PATH": f"{tool.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", file], cwd=tmp_path / "cwd", env=environment, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) <= {"3", "7"} and done.stderr == ""
    assert len(done.stdout.split()) == len(checks_of(hostile.result))
    assert list((tmp_path / "cwd").iterdir()) == []


def test_kunit_would_read_to_the_end(hostile: Material) -> None:
    """At these texts kunit_parser.py stops reading."""
    text = FORMATS["results.ktap"](hostile)
    ends = ("List of all partitions", "Kernel panic - not syncing: VFS", "reboot: System halted")
    assert not any(end + mark in text for end, mark in zip(ends, (":", ":", ""), strict=True))
    assert "Kernel panic - not syncing - VFS - Unable to mount root" in text
    assert next(line for line in text.splitlines() if line.lstrip().startswith("1..")) == "1..4"


def test_ids_fit_into_a_file_name(hostile: Material) -> None:
    """lava-test-case makes a directory of each."""
    assert max(len(check.id) for check in checks_of(hostile.result)) < 250


def test_names_that_become_alike_stay_apart() -> None:
    plan, verdict = make_result("fewer")
    cell = verdict.cells[0]
    twin = replace(cell, cell=replace(cell.cell, variant={"load": "read/shared"}))
    other = replace(cell, cell=replace(cell.cell, variant={"load": "read=shared"}))
    made = material(plan, replace(verdict, cells=(cell, twin, other)))
    paths = [check.path for check in checks_of(made.result) if check.group == "asyncpf"]
    assert paths == [
        "asyncpf.shadow.read-shared",
        "asyncpf.shadow.read.shared",
        "asyncpf.shadow.read-shared-2",
    ]


# --- files that cannot be made, and many rounds ---------------------------------------------------


def test_a_file_that_cannot_be_made_leaves_none_of_another_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_verdict(tmp_path, *make_result("same"))
    write_formats(tmp_path)

    def fail(_: Material) -> str:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("guestloop.report.formats.FORMATS", {**FORMATS, "junit.xml": fail})
    before = (tmp_path / "kcidb.json").read_text()
    write_verdict(tmp_path, *make_result("more"), replace=True)
    with pytest.raises(ZeroDivisionError, match="a fault"):
        write_formats(tmp_path)
    assert not (tmp_path / "junit.xml").exists()
    assert (tmp_path / "kcidb.json").read_text() != before


def test_reports_of_many_rounds_take_no_time(tmp_path: Path) -> None:
    """5000 rounds have to be reported within 10 s: these are 600, and may take as much for each."""
    plan, verdict = make_result("same")
    cell = verdict.cells[0]
    rounds = tuple(replace(item, round=number) for number in range(1, 151) for item in cell.rounds)
    write_verdict(tmp_path, plan, replace(verdict, cells=(replace(cell, rounds=rounds),)))
    began = time.process_time()
    write_formats(tmp_path)
    assert time.process_time() - began < 1.2
    assert len(read_result(tmp_path).cells[0].rounds) == 600
