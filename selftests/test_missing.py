# SPDX-License-Identifier: GPL-2.0-or-later
"""Rounds that their tests did not write are written by the job, and no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from samples import CANDIDATE, REFERENCE, A, B, make_round, plan_of

from guestloop.job.missing import write_missing_round
from guestloop.results.cells import Mmu
from guestloop.results.findings import Finding, FindingKind
from guestloop.results.plan import write_plan
from guestloop.results.records import Correctness, Outcome, read_rounds, write_round
from guestloop.workloads.catalog import cell_of

CELL = cell_of({"asyncpf": None}, Mmu.SHADOW, {"load": "read-own"})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_plan(tmp_path, plan_of(REFERENCE, CANDIDATE, cells=(CELL,)))
    return tmp_path


def ended(**changes: Any) -> dict[str, Any]:
    """A test that has ended, as Avocado describes it."""
    values = {"kernel": B, "mmu": "shadow", "round": 2, **changes.pop("params", {})}
    fields = {"tags": {"asyncpf": None, "load": ["read-own"]}, "status": "ERROR", "fail_reason": "it died"}
    params = [("/run", key, value) for key, value in values.items() if value is not None]
    return {**fields, "params": params, **changes}


def test_a_missing_round_is_written(out: Path) -> None:
    write_missing_round(out, ended())
    (record,) = read_rounds(out)
    assert (record.cell, record.kernel, record.round, record.boot) == (CELL, B, 2, 0)
    assert (record.outcome, record.correctness) == (Outcome.INVALID, Correctness.NOT_RUN)
    assert record.findings == (Finding(FindingKind.INTERRUPTED, "it died"),)
    assert (record.is_invalid, record.is_wrong, record.reason) == (True, False, "it died")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fail_class": "ImportError", "fail_reason": "no x"}, "ImportError: no x"),
        ({"status": "PASS", "fail_reason": None}, "the test ended (PASS) and wrote no result"),
    ],
)
def test_the_reason_is_what_is_known_of_the_end(out: Path, changes: dict[str, Any], reason: str) -> None:
    write_missing_round(out, ended(**changes))
    assert [item.reason for item in read_rounds(out)] == [reason]


def test_parameters_that_are_not_given_have_their_usual_values(out: Path) -> None:
    (out / "plan.json").unlink()
    usual = cell_of({"asyncpf": None}, Mmu.TDP, {"load": "read-own"})
    write_plan(out, plan_of(REFERENCE, CANDIDATE, cells=(usual,)))
    write_missing_round(out, ended(params={"kernel": None, "mmu": None, "round": None}))
    assert [(item.cell, item.kernel, item.round) for item in read_rounds(out)] == [(usual, A, 1)]


def test_what_a_test_has_written_stands(out: Path) -> None:
    write_round(out, replace(make_round(CELL, B, 2, ready=5)))
    before = read_rounds(out)
    write_missing_round(out, ended())
    assert read_rounds(out) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"tags": {}},
        {"tags": {"asyncpf": None, "load": ["dance"]}},
        {"params": {"kernel": "stranger"}},
        {"params": {"mmu": "tdp"}},
    ],
)
def test_what_was_not_planned_is_left_alone(out: Path, changes: dict[str, Any]) -> None:
    write_missing_round(out, ended(**changes))
    assert not (out / "rounds").exists()
