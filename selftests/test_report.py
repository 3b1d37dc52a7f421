"""verdict.json against its schema, and the report on a terminal against a golden file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guestloop.compare import Status, Verdict, compare
from guestloop.counters import FLUSH_REQUESTS
from guestloop.ground.errors import LabError
from guestloop.report import VERDICT_FILE, describe, render_text, write_verdict
from guestloop.report.verdict_json import validate
from guestloop.results.cells import Cell, Mmu
from guestloop.results.plan import Plan, PlannedKernel, Reach
from guestloop.results.records import Correctness, Outcome, Phase, Round

GOLDEN = Path(__file__).parent / "data" / "report.txt"
A, B = "unpatched", "patched"
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


def make_plan(*names: str) -> Plan:
    first = PlannedKernel(A, "6.12.117-guestloop", "linux-source-6.12", (), "a" * 64, Reach())
    second = replace(first, name=B, series=("0001-KVM-x86-mmu.patch",), sha256="b" * 64, reach=REACH)
    return Plan(
        profile="default",
        accelerator="tcg",
        host={"cpu": "AMD EPYC (no svm)", "cpus": "2", "qemu": "7.2.22"},
        kernels=(first, second),
        cells=tuple(CELLS[name][0] for name in names),
        rounds=2,
        left_out=(
            "migration in direct mode: covered by shadow mode",
            "fresh boots between rounds (profile lab)",
        ),
    )


def make_round(name: str, kernel: str, number: int) -> Round:
    cell, *counts = CELLS[name]
    ready = counts[kernel == B][number - 1]
    paths = {"async_page_ready": ready, "mmu_notifier_unmap": 640, "sync": 3}
    bad = name == "broken" and kernel == B
    missing = {
        "skipped": (Outcome.SKIPPED, "no swap on this machine"),
        "invalid": (Outcome.INVALID, "no page fault"),
    }
    outcome, reason = missing.get(name, (Outcome.MEASURED, ""))
    return Round(
        cell=cell,
        kernel=kernel,
        round=number,
        boot=1,
        outcome=outcome,
        reason=reason,
        correctness=Correctness.FAIL if bad else Correctness.PASS,
        event="page_ready",
        events={"page_ready": 2580, "pages_swapped_in": 4000},
        counters={FLUSH_REQUESTS: sum(paths.values()), "remote_tlb_flush": 12, **FAULTS},
        phases={"storm": Phase(15.0, {FLUSH_REQUESTS: 5}, {"sync": 3})},
        paths=paths,
        judged=("async_page_ready",),
        seconds=15.25,
        facts={"kvm.tdp_mmu": "N"},
        evidence=(f"rounds/{name}/console.txt",),
    )


def make_result(*names: str) -> tuple[Plan, Verdict]:
    names = names or tuple(CELLS)
    plan = make_plan(*names)
    rounds = [make_round(name, kernel, number) for name in names for number in (1, 2) for kernel in (A, B)]
    return plan, compare(plan, rounds)


def test_the_samples_have_the_statuses_they_are_named_for() -> None:
    assert [cell.status for cell in make_result()[1].cells] == list(CELLS)


@pytest.mark.parametrize("names", [(), ("fewer",), ("skipped",), ("invalid", "same")])
def test_written_file_is_valid_and_complete(tmp_path: Path, names: tuple[str, ...]) -> None:
    plan, verdict = make_result(*names)
    path = write_verdict(tmp_path, plan, verdict)
    data = json.loads(path.read_text())
    validate(data)
    assert path.name == VERDICT_FILE and data == describe(plan, verdict)
    assert {"schema_version", "verdict", "accelerator", "profile", "host", "kernels", "cells"} <= data.keys()
    cell = data["cells"][0]
    assert {"test", "mmu", "variant", "status", "reason", "correctness", "rounds", "evidence"} <= cell.keys()
    contract = {"kernel", "round", "boot", "events", "counters", "phases", "paths", "seconds"}
    assert contract <= cell["rounds"][0].keys()
    compared = cell["comparison"]
    assert compared is None or {"metric", "per_event", "p_value", "ratio", "ci", "mde"} <= compared.keys()
    assert list(data["kernels"]) == [A, B]


def test_comparison_is_about_the_deciding_path() -> None:
    (cell,) = describe(*make_result("fewer"))["cells"]
    assert cell["comparison"]["metric"] == "async_page_ready flush requests per page_ready"
    assert cell["comparison"]["per_event"] == {
        A: pytest.approx(0.413, abs=0.001),
        B: pytest.approx(0.0, abs=0.001),
    }
    assert cell["paths"]["mmu_notifier_unmap"]["judged"] is False
    assert cell["evidence"] == ["rounds/fewer/console.txt"]


def test_the_first_verdict_stands(tmp_path: Path) -> None:
    write_verdict(tmp_path, *make_result("same"))
    with pytest.raises(FileExistsError):
        write_verdict(tmp_path, *make_result("fewer"))
    assert write_verdict(tmp_path, *make_result("fewer"), replace=True).exists()
    assert [path.name for path in tmp_path.iterdir()] == [VERDICT_FILE]


def test_an_infinite_mde_is_null_and_nothing_else_is_infinite() -> None:
    plan, verdict = make_result("same")
    cell = verdict.cells[0]
    assert cell.decisive
    wild = replace(cell.decisive, figures=replace(cell.decisive.figures, mde=math.inf))
    data = describe(plan, replace(verdict, cells=(replace(cell, decisive=wild),)))
    validate(data)
    assert data["cells"][0]["comparison"]["mde"] is None


def set_(*path: str | int, to: object) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("breakage", "where"),
    [
        (lambda data: data.pop("accelerator"), "the top level: 'accelerator' is a required property"),
        (set_("mood", to="good"), "the top level: Additional properties"),
        (set_("schema_version", to=2), "schema_version"),
        (set_("verdict", to="fine"), "verdict: 'fine'"),
        (set_("cells", 0, "status", to="passed"), "cells/0/status"),
        (set_("cells", 0, "rounds", 1, "paths", "zap", to=-1), "cells/0/rounds/1/paths/zap"),
        (set_("cells", 0, "rounds", 0, "mood", to="good"), "cells/0/rounds/0"),
        (set_("cells", 0, "comparison", "p_value", to=1.5), "cells/0/comparison"),
        (set_("cells", 0, "comparison", to=None), "cells/0/comparison"),
        (set_("cells", 0, "correctness", B, to="fail"), "cells/0/correctness/patched"),
        (set_("cells", 0, "reason", to=""), "cells/0/reason"),
        (set_("kernels", A, "sha256", to="short"), "kernels/unpatched/sha256"),
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


def test_terminal_report_matches_the_golden_file() -> None:
    """To accept a change: print(render_text(...)) as below into selftests/data/report.txt, and read it."""
    assert render_text(*make_result(), out=Path("/tmp/out")) + "\n" == GOLDEN.read_text()


def test_terminal_report_is_at_most_110_columns_wide_and_says_where_it_ran() -> None:
    plan, verdict = make_result()
    long = replace(plan, host={"cpu": "x" * 60, "note": "word " * 40}, accelerator="kvm")
    text = render_text(long, verdict)
    assert max(map(len, text.splitlines())) <= 110
    assert "accelerator kvm" in text and "left out:" in text
    assert text.splitlines()[0].startswith("regression: ")
    assert "\033" not in text


def test_colour_changes_nothing_but_colour() -> None:
    plan, verdict = make_result()
    coloured = render_text(plan, verdict, colour=True)
    assert "\033[31mmore\033[0m" in coloured and "\033[32mfewer\033[0m" in coloured
    assert re.sub(r"\033\[\d+m", "", coloured) == render_text(plan, verdict)


def test_every_status_can_be_rendered() -> None:
    plan, verdict = make_result("same")
    for status in Status:
        one = replace(verdict, cells=(replace(verdict.cells[0], status=status, reason="a reason"),))
        assert f" {status}\n" in render_text(plan, one)
