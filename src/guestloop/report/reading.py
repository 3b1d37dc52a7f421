# SPDX-License-Identifier: GPL-2.0-or-later
"""A verdict that was written, read again.

``read_result(OUT)`` needs ``OUT/verdict.json`` alone, so that a report can be made where that was sent to.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from guestloop.compare import (
    Change,
    Difference,
    ExpectationVerdict,
    KernelState,
    Kind,
    Met,
    Overall,
    Realm,
    Status,
    Subject,
    Verdict,
    Weight,
)
from guestloop.ground.codec import decode
from guestloop.ground.errors import ConfigError
from guestloop.report.results import (
    CandidateResult,
    CellResult,
    Command,
    Course,
    Figure,
    KernelResult,
    Result,
)
from guestloop.report.verdict_json import SCHEMA_VERSION, VERDICT_FILE, describe
from guestloop.results.cells import Cell, Mmu
from guestloop.results.changes import Changes
from guestloop.results.files import read_json
from guestloop.results.origin import Origin
from guestloop.results.plan import L2Kernel, MadeBy, Plan
from guestloop.results.provenance import Expectation, Provenance, Trend
from guestloop.results.reach import NeverRan, Ran, Unproven
from guestloop.results.records import Correctness, parse_round_of
from guestloop.results.sittings import Ending, Sitting
from guestloop.results.sizes import Sizes


def read_result(out: Path) -> Result:
    """The verdict that is stored in a result directory.

    Raises ConfigError if there is none, or one of another schema, and LabError if it is damaged.
    """
    path = out / VERDICT_FILE
    if not path.is_file():
        raise ConfigError(f"{out}: no {VERDICT_FILE} in it", hint=f"scripts/compare {out} makes it")
    with _without_collector():
        return read_json(path, lambda data: _parse_checked(path, data))


def result_of(plan: Plan, verdict: Verdict, sittings: Sequence[Sitting] = ()) -> Result:
    """What would be read again if this verdict were written."""
    return parse_result(describe(plan, verdict, sittings))


def _parse_checked(path: Path, data: Mapping[str, Any]) -> Result:
    version = data["schema_version"]
    if version != SCHEMA_VERSION:
        raise ConfigError(
            f"{path}: it has schema {version}, and reports are made from schema {SCHEMA_VERSION}",
            hint=f"scripts/compare {path.parent} makes it anew from the rounds, then make the report",
        )
    return parse_result(data)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Nothing of what a large file becomes is garbage: looking for some takes as long as reading."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def parse_result(data: Mapping[str, Any]) -> Result:
    """The content of a verdict.json of this schema. Raises what json and its shape may raise."""
    reference = data["reference"]
    return Result(
        verdict=Overall(data["verdict"]),
        answer=data["answer"],
        summary=data["summary"],
        course=_parse_course(data["run"]),
        accelerator=data["accelerator"],
        profile=data["profile"],
        host=data["host"],
        reference=reference,
        kernels={name: _parse_kernel(name, kernel) for name, kernel in data["kernels"].items()},
        l2_kernel=L2Kernel(**data["l2_kernel"]) if data["l2_kernel"] else None,
        differences=tuple(
            Difference(Realm(one["realm"]), one["name"], one["values"]) for one in data["differences"]
        ),
        cells=tuple(_parse_cell(reference, cell) for cell in data["cells"]),
        left_out=tuple(data["left_out"]),
    )


def _parse_course(data: Mapping[str, Any]) -> Course:
    kept = ("id", "started", "ended", "sittings", "budget_s", "fresh_boots", "correctness_only")
    return Course(
        **{name: data[name] for name in kept},
        ending=Ending(data["ending"]) if data["ending"] else None,
        made_by=MadeBy(**data["made_by"]),
        command=Command(_without_out(data["arguments"][1:]), data["directory"]),
        looks=tuple(data["looks"]),
        planned_cells=tuple(data["planned_cells"]),
        sizes=decode(Sizes, data.get("sizes", {})),
    )


def _without_out(words: list[str]) -> tuple[str, ...]:
    """The words of a command line without --out, which names a directory that is taken."""
    kept, rest = [], iter(words)
    for word in rest:
        if word == "--out":
            next(rest, None)
        elif not word.startswith("--out="):
            kept.append(word)
    return tuple(kept)


def _parse_kernel(name: str, data: Mapping[str, Any]) -> KernelResult:
    kept: Mapping[str, Any] = {
        **{field: data[field] for field in ("identity", "reason", "release", "base", "sha256", "build_ids")},
        **{field: tuple(data[field]) for field in ("details", "console", "late", "absent_paths", "series")},
    }
    return KernelResult(
        name=name,
        kind=Kind(data["kind"]) if data["kind"] else None,
        state=KernelState(data["state"]),
        regression=data["regression"],
        **kept,
        origin=decode(Origin, data["origin"]),
        provenance=decode(Provenance, data["provenance"]) if data["provenance"] else None,
        expectations=tuple(map(_parse_expectation, data["expectations"])),
        changes=decode(Changes, data["changes"]) if data["changes"] else None,
    )


def _parse_expectation(data: Mapping[str, Any]) -> ExpectationVerdict:
    expected = Expectation(data["path"], Trend(data["change"]))
    return ExpectationVerdict(expected, Met(data["outcome"]), data["evidence"])


def _parse_cell(reference: str, data: Mapping[str, Any]) -> CellResult:
    cell = Cell(data["test"], Mmu(data["mmu"]), data["variant"], _usual(data["id"], data["variant"]))
    return CellResult(
        id=data["id"],
        cell=cell,
        status=Status(data["status"]),
        reason=data["reason"],
        candidates={
            name: _parse_candidate((reference, name), one) for name, one in data["candidates"].items()
        },
        correctness={name: Correctness(seen) for name, seen in data["correctness"].items()},
        rounds=tuple(parse_round_of(cell, item) for item in data["rounds"]),
        evidence=tuple(data["evidence"]),
    )


def _usual(cell: str, variant: Mapping[str, str]) -> tuple[str, ...]:
    """The axes that the id of a cell leaves out because they have their usual value."""
    said = cell.split(",")[1:]
    return tuple(axis for axis, value in list(variant.items())[1:] if f"{axis}={value}" not in said)


def _parse_candidate(names: tuple[str, str], data: Mapping[str, Any]) -> CandidateResult:
    figures = tuple(_parse_figure(names, one) for one in data["comparisons"])
    decisive = data["comparison"]["name"] if data["comparison"] else None
    return CandidateResult(
        name=names[1],
        status=Status(data["status"]),
        **{field: data[field] for field in ("reason", "accepted", "unlike_load", "busy")},
        rounds_used=_pair(names, data["rounds_used"]),
        reach=_parse_reach(data["reach"]),
        decisive=next((one for one in figures if one.name == decisive), None),
        figures=figures,
    )


def _parse_reach(data: Mapping[str, Any] | None) -> Ran | NeverRan | Unproven | None:
    if data is None:
        return None
    if data["found"] == "ran":
        return Ran(data["hits"], data["source"])
    return NeverRan() if data["found"] == "never-ran" else Unproven(data["why"])


def _parse_figure(names: tuple[str, str], data: Mapping[str, Any]) -> Figure:
    kept = ("name", "unit", "p_value", "alpha", "ratio", "mde", "rounds_needed", "calibrated")
    reference, tested = names
    return Figure(
        **{field: data[field] for field in kept},
        subject=Subject(data["subject"]),
        weight=Weight(data["weight"]),
        change=Change(data["change"]),
        counts=(tuple(data["counts"][reference]), tuple(data["counts"][tested])),
        exposures=(tuple(data["exposures"][reference]), tuple(data["exposures"][tested])),
        rates=_pair(names, data["per_event"]),
        limits=_pair(names, data["limits"]),
        per_work=_pair(names, data["per_work"]),
        absent=(reference in data["absent"], tested in data["absent"]),
        ci=(data["ci"][0], data["ci"][1]),
        increase=(data["increase"][0], data["increase"][1]),
        **data["bounds"],
    )


def _pair(names: tuple[str, str], data: Mapping[str, Any]) -> tuple[Any, Any]:
    return data[names[0]], data[names[1]]
