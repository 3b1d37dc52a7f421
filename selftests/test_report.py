# SPDX-License-Identifier: GPL-2.0-or-later
"""verdict.json against its schema, and the report on a terminal against golden files.

``python selftests/test_report.py`` accepts what is rendered now: it writes the golden files anew. Read the
diff before you commit it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from samples import BUILT, L2_KERNEL, compare, failed

from guestloop.compare import KernelState, KernelVerdict, Overall, Status, Verdict
from guestloop.counters import FLUSH_REQUESTS
from guestloop.ground.errors import LabError
from guestloop.report import (
    VERDICT_FILE,
    describe,
    render_brief,
    render_text,
    result_of,
    write_verdict,
)
from guestloop.report.text import CONSOLE_LINES
from guestloop.report.verdict_json import SCHEMA, validate
from guestloop.results.cells import Cell, Mmu
from guestloop.results.findings import Finding, FindingKind
from guestloop.results.plan import Kernels, Plan, PlannedKernel, Reach
from guestloop.results.records import L2_BUILD_ID, VMLINUX_BUILD_ID, Correctness, Outcome, Phase, Round
from guestloop.stats.samples import Scatter

DATA = Path(__file__).parent / "data"
A, B, C = "unpatched", "patched", "patched-v2"
SHARED, OWN = {"load": "read-shared"}, {"load": "read-own"}
FAULTS = {"pf_fixed": 5160, "pf_spurious": 12, "halt_exits": 7000}
REACH = Reach((Mmu.DIRECT, Mmu.SHADOW), "the TDP MMU does not call mmu_spte_update()")

# cell -> (flushes on async_page_ready per round) on both kernels; events are the same everywhere
CELLS: dict[str, tuple[Cell, tuple[int, int], tuple[int, int]]] = {
    "fewer": (Cell("asyncpf", Mmu.SHADOW, SHARED), (1092, 1041), (1, 0)),
    "same": (Cell("asyncpf", Mmu.DIRECT, SHARED), (2502, 2489), (2510, 2480)),
    "cannot-differ": (Cell("asyncpf", Mmu.TDP, SHARED), (0, 0), (0, 0)),
    "more": (Cell("asyncpf", Mmu.SHADOW, OWN), (0, 2), (1900, 1800)),
    "broken": (Cell("asyncpf", Mmu.DIRECT, OWN), (100, 101), (99, 102)),
    "skipped": (Cell("aging", Mmu.SHADOW, {"kind": "clear_flush_young", "swap": "disk"}), (0, 0), (0, 0)),
    "invalid": (Cell("migration", Mmu.TDP, {"way": "postcopy"}), (5, 5), (5, 5)),
}  # fmt: skip

UNMEASURED = {
    "skipped": (Outcome.SKIPPED, Finding(FindingKind.LACKING, "no swap on this machine")),
    "invalid": (Outcome.INVALID, Finding(FindingKind.NOT_PROVEN, "no page fault")),
}


def make_plan(*names: str) -> Plan:
    first = PlannedKernel(A, "6.12.117-guestloop", "linux-source-6.12", (), "a" * 64, Reach(), BUILT)
    second = replace(first, name=B, series=("0001-KVM-x86-mmu.patch",), sha256="b" * 64, reach=REACH)
    return Plan(
        profile="default",
        accelerator="tcg",
        host={"cpu": "AMD EPYC (no svm)", "cpus": "2", "qemu": "7.2.22"},
        kernels=Kernels(first, (second,)),
        cells=tuple(CELLS[name][0] for name in names),
        looks=(2,),
        left_out=(
            "migration in direct mode: covered by shadow mode",
            "fresh boots between rounds (profile lab)",
        ),
        l2_kernel=L2_KERNEL,
    )


def make_round(name: str, kernel: str, number: int) -> Round:
    cell, *counts = CELLS[name]
    ready = counts[kernel == B][number - 1]
    paths = {"async_page_ready": ready, "mmu_notifier_unmap": 640, "sync": 3}
    bad = name == "broken" and kernel == B
    outcome, finding = UNMEASURED.get(name, (Outcome.MEASURED, None))
    return Round(
        cell=cell,
        kernel=kernel,
        round=number,
        boot=1,
        outcome=outcome,
        reason=finding.text if finding else "",
        correctness=Correctness.FAIL if bad else Correctness.PASS,
        event="page_ready",
        events={"page_ready": 2580, "pages_swapped_in": 4000},
        counters={FLUSH_REQUESTS: sum(paths.values()), "remote_tlb_flush": 12, **FAULTS},
        phases={"storm": Phase(15.0, {FLUSH_REQUESTS: 5}, {"sync": 3})},
        paths=paths,
        judged=("async_page_ready",),
        seconds=15.25,
        facts={"kvm.tdp_mmu": "N", VMLINUX_BUILD_ID: "90c00e32", L2_BUILD_ID: L2_KERNEL.build_id},
        work={"pages_visited": 8192, "pages_dirtied": 0},
        work_unit="pages_visited",
        absent_paths=("change_pte",),
        evidence=(f"rounds/{name}/console.txt",),
        findings=(finding,) if finding else (),
    )


@cache
def make_result(*names: str) -> tuple[Plan, Verdict]:
    names = names or tuple(CELLS)
    plan = make_plan(*names)
    rounds = [make_round(name, kernel, number) for name in names for number in (1, 2) for kernel in (A, B)]
    return plan, compare(plan, rounds)


@cache
def make_result_of_three(*names: str) -> tuple[Plan, Verdict]:
    """As ``make_result``, with a second candidate that does all that the reference does."""
    plan, verdict = make_result(*names)
    first = plan.kernels.candidates[0]
    third = replace(first, name=C, series=("0001-KVM-x86-mmu.patch", "0002-more.patch"), sha256="c" * 64)
    plan = replace(plan, kernels=Kernels(plan.kernels.reference, (first, third)))
    rounds = [item for cell in verdict.cells for item in cell.rounds]
    return plan, compare(plan, rounds + [replace(item, kernel=C) for item in rounds if item.kernel == A])


def test_the_samples_have_the_statuses_they_are_named_for() -> None:
    assert [cell.status for cell in make_result()[1].cells] == list(CELLS)


@pytest.mark.parametrize("names", [(), ("fewer",), ("skipped",), ("invalid", "same")])
def test_written_file_is_valid_and_complete(tmp_path: Path, names: tuple[str, ...]) -> None:
    plan, verdict = make_result(*names)
    path = write_verdict(tmp_path, plan, verdict)
    data = json.loads(path.read_text())
    validate(data)
    assert path.name == VERDICT_FILE and data == describe(plan, verdict)
    contract = {"schema_version", "verdict", "answer", "accelerator", "profile", "host", "kernels", "cells"}
    assert contract <= data.keys()
    cell = data["cells"][0]
    assert {"test", "mmu", "variant", "status", "reason", "candidates", "correctness"} <= cell.keys()
    assert {"rounds", "evidence"} <= cell.keys()
    contract = {"kernel", "round", "boot", "events", "work", "counters", "phases", "paths", "seconds"}
    assert contract <= cell["rounds"][0].keys()
    compared = cell["candidates"][B]["comparison"]
    assert (
        compared is None
        or {"metric", "per_event", "per_work", "p_value", "ratio", "ci", "mde"} <= compared.keys()
    )


def with_rounds(name: str, **per_kernel: dict[str, Any]) -> tuple[Plan, Verdict]:
    """One cell, the rounds of the reference (a) or the candidate (b) changed."""
    plan = make_plan(name)
    changes = {A: per_kernel.get("a", {}), B: per_kernel.get("b", {})}
    rounds = [
        replace(make_round(name, kernel, number), **changes[kernel]) for number in (1, 2) for kernel in (A, B)
    ]
    return plan, compare(plan, rounds)


def comparisons_of(data: dict[str, Any], cell: int = 0, candidate: str = B) -> dict[str, Any]:
    """By name."""
    found = data["cells"][cell]["candidates"][candidate]["comparisons"]
    return {one["name"]: one for one in found}


def test_the_same_work_may_tell_another_story_than_events() -> None:
    """A kernel with three times the events for the same reads: a third of the flushes per event."""
    result = with_rounds("same", b={"events": {"page_ready": 3 * 2580}})
    (row,) = [line for line in render_text(*result).splitlines() if "* async_page_ready" in line]
    assert row.split()[2:] == ["4991", "4990", "0.305", "0.305", "x1.00", "per", "page", "visited"]
    data = describe(*result)
    ready = comparisons_of(data)["async_page_ready"]
    assert (ready["unit"], ready["change"]) == ("page visited", "same")
    assert ready["per_work"][A] == pytest.approx((2502 + 2489) / 2 / 8192)


@pytest.mark.parametrize(
    "change", [{"work": {}}, {"work_unit": "pages_dirtied", "work": {"pages_dirtied": 5}}]
)
def test_work_that_was_not_recorded_or_is_another_is_not_compared(change: dict[str, Any]) -> None:
    data = describe(*with_rounds("same", b=change))
    total = comparisons_of(data)["all flush requests"]
    assert (total["unit"], total["per_work"]) == ("round", {A: None, B: None})


def test_a_path_that_a_kernel_does_not_have_is_not_shown_as_zero() -> None:
    paths = {"async_page_ready": 2502, "change_pte": 90}
    before = {"paths": paths, "counters": {FLUSH_REQUESTS: 2592}, "absent_paths": ("guest_memfd",)}
    result = with_rounds("same", a=before)
    text = render_text(*result)
    (row,) = [line for line in text.splitlines() if line.strip().startswith("change_pte")]
    assert row.split() == [
        "change_pte",
        "180",
        "0",
        "0.011",
        "absent",
        "-",
        "per",
        "page",
        "visited,",
        "fewer",
    ]
    assert "call paths that are not in this kernel: guest_memfd" in text
    assert "call paths that are not in this kernel: change_pte" in text
    data = describe(*result)
    assert comparisons_of(data)["change_pte"]["absent"] == [B]
    assert data["kernels"][A]["absent_paths"] == ["guest_memfd"]


def test_kernels_say_what_they_are_and_how_far_they_got() -> None:
    kernels = describe(*make_result("fewer"))["kernels"]
    assert list(kernels) == [A, B]
    assert kernels[B] == {
        "kind": "series",
        "state": "measured",
        "regression": False,
        "identity": "90c00e32",
        "reason": "",
        "details": [],
        "console": [],
        "late": [],
        "absent_paths": ["change_pte"],
        "release": "6.12.117-guestloop",
        "base": "linux-source-6.12",
        "series": ["0001-KVM-x86-mmu.patch"],
        "sha256": "b" * 64,
        "origin": {
            "kind": "built",
            "argument": A,
            "name": "linux-source-6.12",
            "version": "6.12.117",
            "sha256": {},
            "suite": "",
            "release_date": "",
            "verified": False,
        },
        "provenance": None,
        "expectations": [],
        "build_ids": {},
        "changes": None,
    }


def test_comparison_is_about_the_deciding_path() -> None:
    (cell,) = describe(*make_result("fewer"))["cells"]
    candidate = cell["candidates"][B]
    assert candidate["comparison"]["metric"] == "async_page_ready per page-ready event"
    assert candidate["comparison"]["per_event"] == {
        A: pytest.approx(0.413, abs=0.001),
        B: pytest.approx(0.0, abs=0.001),
    }
    weights = {one["name"]: one["weight"] for one in candidate["comparisons"]}
    assert weights["mmu_notifier_unmap"] == "other"
    assert (weights["async_page_ready"], weights["all flush requests"]) == ("judged", "judged")
    assert (cell["status"], cell["reason"]) == (candidate["status"], candidate["reason"])
    assert cell["evidence"] == ["rounds/fewer/console.txt"]


def test_three_kernels_in_one_file(tmp_path: Path) -> None:
    plan, verdict = make_result_of_three("more", "fewer")
    data = json.loads(write_verdict(tmp_path, plan, verdict).read_text())
    assert list(data["kernels"]) == [A, B, C]
    more, fewer = data["cells"]
    assert {name: one["status"] for name, one in more["candidates"].items()} == {B: "more", C: "same"}
    assert {name: one["status"] for name, one in fewer["candidates"].items()} == {B: "fewer", C: "same"}
    assert [cell["status"] for cell in data["cells"]] == ["more", "same"], "of the worst candidate"
    for name in (B, C):
        assert list(more["candidates"][name]["comparison"]["per_event"]) == [A, name]
        assert list(more["candidates"][name]["comparisons"][0]["counts"]) == [A, name]
    assert list(more["correctness"]) == [A, B, C] and len(more["rounds"]) == 6


def test_a_broken_candidate_beside_one_that_was_not_measured_fits_the_schema() -> None:
    plan, verdict = make_result_of_three("broken", "more")
    gone = (Finding(FindingKind.NOT_BOOTED, "L1 patched-v2 did not boot\n  console | [ 0.1] x"),)
    rounds = [
        replace(item, outcome=Outcome.INVALID, boot=0, findings=gone) if item.kernel == C else item
        for cell in verdict.cells
        for item in cell.rounds
    ]
    data = describe(plan, compare(plan, rounds))
    validate(data)
    assert [cell["status"] for cell in data["cells"]] == ["broken", "more"]
    assert data["cells"][1]["candidates"][C]["comparison"] is None
    seen = data["kernels"][C]
    assert (seen["state"], seen["reason"]) == ("not-booted", "L1 patched-v2 did not boot")
    assert seen["console"] == ["  console | [ 0.1] x"]


def test_schema_and_code_have_the_same_words() -> None:
    schema = json.loads(SCHEMA.read_text())
    defined = schema["$defs"]
    assert set(schema["properties"]["verdict"]["enum"]) == set(Overall)
    assert defined["status"]["enum"] == list(Status)
    assert defined["kernel"]["properties"]["state"]["enum"] == list(KernelState)
    assert defined["finding"]["properties"]["kind"]["enum"] == list(FindingKind)


def test_the_first_verdict_stands(tmp_path: Path) -> None:
    write_verdict(tmp_path, *make_result("same"))
    with pytest.raises(FileExistsError):
        write_verdict(tmp_path, *make_result("fewer"))
    assert write_verdict(tmp_path, *make_result("fewer"), replace=True).exists()
    assert [path.name for path in tmp_path.iterdir()] == [VERDICT_FILE]


def test_an_infinite_mde_is_null_and_nothing_else_is_infinite() -> None:
    plan, verdict = make_result("same")
    cell = verdict.cells[0]
    candidate = cell.candidates[B]
    assert candidate.decisive
    judgement = replace(candidate.decisive.judgement, scatter=Scatter(9.0, 0.1))
    assert math.isinf(judgement.mde)
    wild = replace(candidate.decisive, judgement=judgement)
    cells = (replace(cell, candidates={B: replace(candidate, decisive=wild)}),)
    data = describe(plan, replace(verdict, cells=cells))
    validate(data)
    assert data["cells"][0]["candidates"][B]["comparison"]["mde"] is None


def set_(*path: str | int, to: object) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("breakage", "where"),
    [
        (lambda data: data.pop("accelerator"), 'the top level: "accelerator" is a required property'),
        (set_("mood", to="good"), "the top level: Additional properties"),
        (set_("schema_version", to=1), "schema_version"),
        (set_("verdict", to="fine"), 'verdict: "fine"'),
        (set_("cells", 0, "status", to="passed"), "cells/0/status"),
        (set_("cells", 0, "rounds", 1, "paths", "zap", to=-1), "cells/0/rounds/1/paths/zap"),
        (set_("cells", 0, "rounds", 0, "mood", to="good"), "cells/0/rounds/0"),
        (set_("cells", 0, "rounds", 0, "findings", to=[{"kind": "odd", "text": ""}]), "findings/0/kind"),
        (set_("cells", 0, "candidates", to={}), "cells/0/candidates"),
        (set_("cells", 0, "candidates", B, "status", to="passed"), "cells/0/candidates/patched/status"),
        (set_("cells", 0, "candidates", B, "reason", to=""), "cells/0/candidates/patched/reason"),
        (set_("cells", 0, "candidates", B, "mood", to="good"), "cells/0/candidates/patched"),
        (set_("cells", 0, "candidates", B, "comparison", "p_value", to=1.5), "candidates/patched/comparison"),
        (set_("cells", 0, "candidates", B, "comparison", "mood", to=1), "candidates/patched/comparison"),
        (set_("cells", 0, "candidates", B, "comparison", to=None), "candidates/patched/comparison"),
        (set_("cells", 0, "candidates", B, "comparisons", 0, "mood", to=1), "patched/comparisons/0"),
        (set_("cells", 0, "correctness", B, to="fail"), "cells/0/correctness/patched"),
        (set_("cells", 0, "reason", to=""), "cells/0/reason"),
        (set_("kernels", A, "sha256", to="short"), "kernels/unpatched/sha256"),
        (set_("kernels", A, "state", to="asleep"), "kernels/unpatched/state"),
        (lambda data: data["kernels"].pop(A), "kernels: "),
    ],
)  # fmt: skip
def test_schema_rejects(breakage: Callable[[Any], None], where: str) -> None:
    data = describe(*make_result("fewer"))
    breakage(data)
    with pytest.raises(LabError, match=re.escape(where)):
        validate(data)


def test_nothing_is_written_when_the_schema_is_broken(tmp_path: Path) -> None:
    plan, verdict = make_result("fewer")
    with pytest.raises(LabError, match=r"breaks verdict\.schema\.json at accelerator"):
        write_verdict(tmp_path, replace(plan, accelerator="xen"), verdict)
    assert list(tmp_path.iterdir()) == []


def golden_reports() -> dict[Path, str]:
    out = Path("/tmp/out")
    return {
        DATA / "report-brief.txt": render_brief(result_of(*make_result()), out) + "\n",
        DATA / "report-brief-3-kernels.txt": render_brief(result_of(*make_result_of_three()), out) + "\n",
        DATA / "report.txt": render_text(*make_result(), out=out) + "\n",
        DATA / "report-3-kernels.txt": render_text(*make_result_of_three(), out=out) + "\n",
    }


def test_terminal_reports_match_the_golden_files() -> None:
    for path, text in golden_reports().items():
        assert text == path.read_text()


@pytest.mark.parametrize("make", [make_result, make_result_of_three])
def test_terminal_report_is_at_most_110_columns_wide_and_says_where_it_ran(
    make: Callable[[], tuple[Plan, Verdict]],
) -> None:
    plan, verdict = make()
    long = replace(plan, host={"cpu": "x" * 60, "note": "word " * 40}, accelerator="kvm")
    text = render_text(long, verdict)
    assert max(map(len, text.splitlines())) <= 110
    assert "accelerator kvm" in text and "left out:" in text
    assert text.splitlines()[0].startswith("regression: ")
    assert "\033" not in text


@pytest.mark.parametrize("make", [make_result, make_result_of_three])
def test_the_brief_report_fits_a_screen(make: Callable[[], tuple[Plan, Verdict]]) -> None:
    plan, verdict = make()
    long = replace(plan, left_out=("word " * 40,))
    lines = render_brief(result_of(long, verdict)).splitlines()
    assert max(map(len, lines)) <= 110 and len(lines) < 30
    assert lines[0].startswith("regression: ")


def test_the_brief_report_says_why_nothing_was_measured() -> None:
    plan = make_plan("fewer")
    plan = replace(plan, kernels=Kernels(plan.kernels.reference, (failed(name="typo"),)))
    lines = render_brief(result_of(plan, compare(plan, []))).splitlines()
    assert lines[:5] == [
        "regression: does not build: arch/x86/kvm/mmu/mmu.c:6:3: error: 'x' undeclared; nothing was measured",
        "",
        "not built  typo: does not build: arch/x86/kvm/mmu/mmu.c:6:3: error: 'x' undeclared",
        "        6 |   x = 1;",
        "          |   ^",
    ]


def test_of_many_cells_of_one_status_the_brief_report_names_the_first() -> None:
    plan, verdict = make_result("more")
    (cell,) = verdict.cells
    cells = tuple(
        replace(cell, cell=replace(cell.cell, variant={"load": f"load-{number}"})) for number in range(9)
    )
    text = render_brief(result_of(plan, replace(verdict, cells=cells)))
    assert text.count("\nmore ") == 6 and "and 3 more more" not in text
    assert "               and 3 others\n" in text
    assert "asyncpf  9 more" in text


def test_the_brief_report_does_no_harm_to_a_terminal() -> None:
    plan, verdict = make_result("broken")
    (cell,) = verdict.cells
    bad = replace(cell.candidates[B], reason="red \x1b[31m and \x07 \u202e\nand more")
    text = render_brief(result_of(plan, replace(verdict, cells=(replace(cell, candidates={B: bad}),))))
    assert "red and \\x07 \\u202e" in text and "\x1b" not in text


def test_colour_changes_nothing_but_colour_in_the_brief_report() -> None:
    result = result_of(*make_result())
    coloured = render_brief(result, colour=True)
    assert "\033[31mbroken\033[0m" in coloured and "\033[32mfewer\033[0m" in coloured
    assert re.sub(r"\033\[\d+m", "", coloured) == render_brief(result)


def test_colour_changes_nothing_but_colour() -> None:
    plan, verdict = make_result()
    coloured = render_text(plan, verdict, colour=True)
    assert "\033[31mmore\033[0m" in coloured and "\033[32mfewer\033[0m" in coloured
    assert re.sub(r"\033\[\d+m", "", coloured) == render_text(plan, verdict)


@pytest.mark.parametrize("make", [make_result, make_result_of_three])
def test_every_status_can_be_rendered(make: Callable[..., tuple[Plan, Verdict]]) -> None:
    plan, verdict = make("same")
    cell = verdict.cells[0]
    for status in Status:
        judged = {
            name: replace(one, status=status, reason="a reason") for name, one in cell.candidates.items()
        }
        text = render_text(plan, replace(verdict, cells=(replace(cell, candidates=judged),)))
        assert text.count(f" {status}\n") == (1 if len(judged) == 1 else 1 + len(judged))


def test_a_kernel_that_did_not_boot_is_marked() -> None:
    plan, verdict = make_result("same")
    said = tuple(f"  console | [ 0.{number}] x" for number in range(20))
    gone = KernelVerdict(KernelState.NOT_BOOTED, "", reason="L1 patched did not boot: it hangs", console=said)
    lines = render_text(plan, replace(verdict, kernels={**verdict.kernels, B: gone})).splitlines()
    assert any(line.startswith("B  patched: ") and line.endswith(", not booted") for line in lines)
    assert any(line.startswith("A  unpatched: ") and "booted" not in line for line in lines)
    at = lines.index("     L1 patched did not boot: it hangs")
    assert lines[at + 1 : at + 1 + CONSOLE_LINES] == [
        f"     {line.strip()}" for line in said[-CONSOLE_LINES:]
    ]


def test_any_number_of_candidates_has_marks_of_its_own() -> None:
    plan, verdict = make_result("same")
    first = plan.kernels.candidates[0]
    many = tuple(replace(first, name=f"k{number}", sha256=f"{number:064x}") for number in range(30))
    plan = replace(plan, kernels=Kernels(plan.kernels.reference, many))
    rounds = [item for item in verdict.cells[0].rounds if item.kernel == A]
    rounds += [replace(item, kernel=kernel.name) for kernel in many for item in rounds]
    lines = render_text(plan, compare(plan, rounds)).splitlines()
    marks = [line.split()[0] for line in lines if line[:1] not in (" ", "") and ", sha256 " in line]
    assert marks == [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "27", "28", "29", "30", "31"]
    assert sum(line.endswith(" same") for line in lines) == 31, "each candidate, and the cell"


if __name__ == "__main__":
    for path, text in golden_reports().items():
        path.write_text(text)
