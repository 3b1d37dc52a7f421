"""``verdict.json``: the contract with programs, described by docs/verdict.schema.json."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from guestloop.compare import CellVerdict, Judgement, PathFigure, Rate, Verdict
from guestloop.config import REPOSITORY
from guestloop.ground.errors import LabError
from guestloop.results.files import write_json
from guestloop.results.plan import Plan, PlannedKernel
from guestloop.results.records import Round

SCHEMA_VERSION = 1
VERDICT_FILE = "verdict.json"
SCHEMA = REPOSITORY / "docs" / "verdict.schema.json"


def write_verdict(out: Path, plan: Plan, verdict: Verdict, *, replace: bool = False) -> Path:
    """Write ``verdict.json`` into ``out``, whole or not at all, after validating it.

    ``replace`` is for a verdict recomputed from the same rounds; otherwise an existing file raises
    FileExistsError, because the first verdict stands. Raises LabError when the data breaks the
    schema, naming where: that is a fault of guestloop, and nothing is written.
    """
    data = describe(plan, verdict)
    validate(data)
    path = out / VERDICT_FILE
    write_json(path, data, replace=replace)
    return path


def describe(plan: Plan, verdict: Verdict) -> dict[str, Any]:
    """The content of ``verdict.json``: nothing but JSON types."""
    data = {
        "schema_version": SCHEMA_VERSION,
        "verdict": verdict.overall,
        "answer": verdict.answer,
        "accelerator": plan.accelerator,
        "profile": plan.profile,
        "host": dict(plan.host),
        "kernels": {kernel.name: _kernel(kernel) for kernel in plan.kernels},
        "cells": [_cell(plan, cell) for cell in verdict.cells],
        "left_out": list(plan.left_out),
    }
    # What is validated must be what is written: tuples and StrEnums become what JSON makes of them.
    plain: dict[str, Any] = json.loads(json.dumps(data, allow_nan=False))
    return plain


def validate(data: object) -> None:
    """Check data against docs/verdict.schema.json. Raises LabError naming the first place that breaks it."""
    errors = sorted(_validator().iter_errors(data), key=lambda error: list(map(str, error.absolute_path)))
    if errors:
        where = "/".join(map(str, errors[0].absolute_path)) or "the top level"
        raise LabError(
            f"{VERDICT_FILE} breaks {SCHEMA.name} at {where}: {errors[0].message}",
            hint="this is a fault of guestloop; the rounds are stored and scripts/compare can be run again",
        )


@cache
def _validator() -> Draft202012Validator:
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def _kernel(kernel: PlannedKernel) -> dict[str, Any]:
    return {
        "release": kernel.release,
        "base": kernel.base,
        "series": list(kernel.series),
        "sha256": kernel.sha256,
    }


def _cell(plan: Plan, cell: CellVerdict) -> dict[str, Any]:
    return {
        "test": cell.cell.test,
        "mmu": cell.cell.mmu,
        "variant": dict(cell.cell.variant),
        "status": cell.status,
        "reason": cell.reason,
        "correctness": dict(cell.correctness),
        "rounds": [_round(item) for item in cell.rounds],
        "comparison": (
            {"metric": cell.metric, **_figures(plan, cell.decisive.figures)} if cell.decisive else None
        ),
        "paths": {item.path: _path(plan, item) for item in cell.paths},
        "rates": [_rate(plan, item) for item in cell.rates],
        "evidence": list(cell.evidence),
    }


def _round(item: Round) -> dict[str, Any]:
    """All of a round but its cell, which is where it stands."""
    data = asdict(item)
    del data["cell"]
    return data


def _path(plan: Plan, item: PathFigure) -> dict[str, Any]:
    said = {"judged": item.judged, "incidental": item.incidental, "change": item.figures.change}
    return {**said, **_figures(plan, item.figures)}


def _rate(plan: Plan, item: Rate) -> dict[str, Any]:
    return {"name": item.name, "per": item.per, "share": item.share, "values": _by_kernel(plan, item.values)}


def _by_kernel(plan: Plan, values: Iterable[float | None]) -> dict[str, float | None]:
    return dict(zip((kernel.name for kernel in plan.kernels), values, strict=True))


def _figures(plan: Plan, figures: Judgement) -> dict[str, Any]:
    return {
        "per_event": _by_kernel(plan, figures.per_event),
        "p_value": figures.p_value,
        "ratio": figures.ratio,
        "ci": list(figures.ci),
        "mde": figures.mde if math.isfinite(figures.mde) else None,
    }
