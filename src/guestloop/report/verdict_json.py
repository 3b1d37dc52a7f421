# SPDX-License-Identifier: GPL-2.0-or-later
"""``verdict.json``: the contract with programs, described by docs/verdict.schema.json."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema_rs import Draft202012Validator

from guestloop.compare import (
    CandidateVerdict,
    CellVerdict,
    Comparison,
    KernelVerdict,
    Sample,
    Verdict,
    kind_of,
)
from guestloop.config import REPOSITORY
from guestloop.ground.errors import LabError
from guestloop.results.files import write_bytes
from guestloop.results.plan import Plan, PlannedKernel
from guestloop.results.reach import NeverRan, Ran, Unproven
from guestloop.results.records import Round
from guestloop.results.sittings import Sitting

SCHEMA_VERSION = 6
VERDICT_FILE = "verdict.json"
SCHEMA = REPOSITORY / "docs" / "verdict.schema.json"


def write_verdict(
    out: Path, plan: Plan, verdict: Verdict, sittings: Sequence[Sitting] = (), *, replace: bool = False
) -> Path:
    """Write ``verdict.json`` into ``out``, whole or not at all, after validating it.

    ``replace`` is for a verdict recomputed from the same rounds; otherwise an existing file raises
    FileExistsError, because the first verdict stands. Raises LabError when the data breaks the
    schema, naming where: that is a fault of guestloop, and nothing is written.
    """
    data = describe(plan, verdict, sittings)
    validate(data)
    path = out / VERDICT_FILE
    write_bytes(path, _render(data).encode(), replace=replace)
    return path


def _render(data: dict[str, Any]) -> str:
    """A line for each field, and for each cell: json lays out nothing in the time that it takes to encode."""
    lines = [
        f"{json.dumps(name)}: {_render_cells(value) if name == 'cells' else json.dumps(value)}"
        for name, value in data.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _render_cells(cells: list[Any]) -> str:
    return "[\n" + ",\n".join(json.dumps(cell) for cell in cells) + "\n]"


def describe(plan: Plan, verdict: Verdict, sittings: Sequence[Sitting] = ()) -> dict[str, Any]:
    """The content of ``verdict.json``: nothing but JSON types."""
    data = {
        "schema_version": SCHEMA_VERSION,
        "verdict": verdict.overall,
        "answer": verdict.answer,
        "summary": verdict.summary,
        "run": _run(plan, sittings),
        "accelerator": plan.accelerator,
        "profile": plan.profile,
        "host": dict(plan.host),
        "reference": plan.kernels.reference.name,
        "kernels": {
            kernel.name: _kernel(plan, kernel, verdict.kernels[kernel.name]) for kernel in plan.kernels
        },
        "l2_kernel": asdict(plan.l2_kernel) if plan.l2_kernel else None,
        "differences": [asdict(difference) for difference in verdict.differences],
        "cells": [_cell(plan, cell) for cell in verdict.cells],
        "left_out": list(plan.left_out),
    }
    # What is validated must be what is written: this turns tuples and enums into plain JSON types.
    plain: dict[str, Any] = json.loads(json.dumps(data, allow_nan=False))
    return plain


def validate(data: object) -> None:
    """Check data against docs/verdict.schema.json. Raises LabError naming the first place that breaks it."""
    found = _validator().iter_errors(_in_unicode(data))
    errors = sorted(found, key=lambda error: list(map(str, error.instance_path)))
    if errors:
        where = "/".join(map(str, errors[0].instance_path)) or "the top level"
        raise LabError(
            f"{VERDICT_FILE} breaks {SCHEMA.name} at {where}: {errors[0].message}",
            hint="this is a fault of guestloop; the rounds are stored and scripts/compare can be run again",
        )


def _in_unicode(data: object) -> object:
    """The data with ? for surrogates, which names of files may have, and which the validator cannot read."""
    return json.loads(json.dumps(data, ensure_ascii=False).encode(errors="replace"))


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(SCHEMA.read_text()))


def _run(plan: Plan, sittings: Sequence[Sitting]) -> dict[str, Any]:
    return {
        "id": plan.run_id,
        "started": plan.started,
        "ended": sittings[-1].ended if sittings else "",
        "ending": sittings[-1].ending if sittings else None,
        "sittings": len(sittings),
        "made_by": asdict(plan.made_by),
        "arguments": list(plan.arguments),
        "directory": plan.directory,
        "looks": list(plan.looks),
        "budget_s": plan.budget_s,
        "fresh_boots": plan.fresh_boots,
        "correctness_only": plan.correctness_only,
        "planned_cells": [cell.id for cell in plan.cells],
        "sizes": asdict(plan.sizes),
    }


def _kernel(plan: Plan, kernel: PlannedKernel, seen: KernelVerdict) -> dict[str, Any]:
    reference = plan.kernels.reference
    return {
        "kind": None if kernel is reference else kind_of(reference, kernel),
        "state": seen.state,
        "regression": seen.regression,
        "identity": seen.identity,
        "reason": seen.reason,
        "details": list(seen.details),
        "console": list(seen.console),
        "late": list(seen.late),
        "absent_paths": list(seen.absent_paths),
        "release": kernel.release,
        "base": kernel.base,
        "series": list(kernel.series),
        "sha256": kernel.sha256,
        "origin": asdict(kernel.origin),
        "provenance": asdict(kernel.provenance) if kernel.provenance else None,
        "expectations": [
            {**asdict(one.expected), "outcome": one.met, "evidence": one.evidence}
            for one in seen.expectations
        ],
        "build_ids": dict(kernel.build_ids),
        "changes": asdict(kernel.changes) if kernel.changes else None,
    }


def _cell(plan: Plan, cell: CellVerdict) -> dict[str, Any]:
    reference = plan.kernels.reference.name
    return {
        "id": cell.cell.id,
        "test": cell.cell.test,
        "mmu": cell.cell.mmu,
        "variant": dict(cell.cell.variant),
        "status": cell.status,
        "reason": cell.reason,
        "candidates": {name: _candidate((reference, name), one) for name, one in cell.candidates.items()},
        "correctness": dict(cell.correctness),
        "rounds": [_round(item) for item in cell.rounds],
        "evidence": list(cell.evidence),
    }


def _round(item: Round) -> dict[str, Any]:
    """All of a round but its cell, which is where it stands. asdict() would copy every count."""
    nested = {
        "phases": {name: vars(phase) for name, phase in item.phases.items()},
        "findings": [vars(finding) for finding in item.findings],
        "load": vars(item.load) if item.load else None,
        "probed": vars(item.probed) if item.probed else None,
    }
    return {name: value for name, value in vars(item).items() if name != "cell"} | nested


Names = tuple[str, str]
"""The reference and the candidate that a figure is about."""


def _candidate(names: Names, candidate: CandidateVerdict) -> dict[str, Any]:
    return {
        "status": candidate.status,
        "reason": candidate.reason,
        "accepted": candidate.accepted,
        "rounds_used": dict(zip(names, candidate.used, strict=True)),
        "unlike_load": candidate.unlike_load,
        "busy": candidate.busy,
        "reach": _reach(candidate.reach),
        "comparison": _decisive(names, candidate.decisive),
        "comparisons": [_comparison(names, one) for one in candidate.comparisons],
    }


def _reach(seen: Ran | NeverRan | Unproven | None) -> dict[str, Any] | None:
    match seen:
        case Ran(hits, source):
            return {"found": "ran", "hits": hits, "source": source}
        case NeverRan():
            return {"found": "never-ran"}
        case Unproven(why):
            return {"found": "unproven", "why": why}
        case None:
            return None


def _decisive(names: Names, one: Comparison | None) -> dict[str, Any] | None:
    """What the status rests on: the same fields as in ``comparisons``, and what they count in words."""
    return {"metric": f"{one.name} per {one.statement.unit}", **_comparison(names, one)} if one else None


def _exposures(sample: Sample) -> list[int | float]:
    """Nearly all are counts: without ``.0`` they take less room."""
    return [int(one) if one.is_integer() else one for one in sample.exposures]


def _comparison(names: Names, one: Comparison) -> dict[str, Any]:
    judgement, statement = one.judgement, one.statement
    return {
        "name": one.name,
        "subject": statement.subject,
        "weight": statement.weight,
        "unit": statement.unit,
        "change": judgement.change,
        "counts": dict(zip(names, (statement.reference.counts, statement.tested.counts), strict=True)),
        "exposures": dict(zip(names, map(_exposures, (statement.reference, statement.tested)), strict=True)),
        "per_event": dict(zip(names, judgement.rates, strict=True)),
        "limits": dict(zip(names, map(list, judgement.limits), strict=True)),
        "per_work": dict(zip(names, one.per_work, strict=True)),
        "absent": [name for name, lacks in zip(names, one.absent, strict=True) if lacks],
        "p_value": judgement.p_value,
        "alpha": judgement.alpha,
        "ratio": judgement.ratio,
        "ci": list(judgement.ci),
        "increase": list(judgement.increase),
        "bounds": asdict(statement.bounds),
        "mde": judgement.mde if math.isfinite(judgement.mde) else None,
        "rounds_needed": judgement.rounds_needed,
        "calibrated": one.calibrated,
    }
