# SPDX-License-Identifier: GPL-2.0-or-later
"""Bring the recorded run in selftests/data/results into the form that is written today.

What is recorded is from a real run (``scripts/run --tests asyncpf --mmu tdp,shadow --rounds 2 --out OUT``):
OUT/plan.json and OUT/rounds, of which only the cells of ``read-shared`` were kept.

``python selftests/recorded.py`` rewrites every file there. When the form of a plan or a round changes,
change the two functions below to what became of the form before, run this, look at the diff, and commit
all of it together; a selftest fails until that is done. What was measured is never touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from guestloop.results.files import write_json
from guestloop.results.plan import PLAN_FILE, parse_plan
from guestloop.results.records import parse_round

RECORDED = Path(__file__).resolve().parent / "data" / "results"

Data = dict[str, Any]


def update_plan(data: Data) -> Data:
    """A list of two kernels became a reference and its candidates.

    Options and build ids of kernels, L2's kernel and digests were not recorded then. All rounds were one
    look.
    """
    if isinstance(data["kernels"], dict):
        return data
    reference, *candidates = data["kernels"]
    return data | {"kernels": {"reference": reference, "candidates": candidates}}


def update_round(data: Data) -> Data:
    """Findings became data; in the recorded run there are none.

    Work, missing paths, requests other than flushes and the load were not recorded, and
    nothing was repeated.
    """
    return {"findings": [], "work": {}, "work_unit": "", "absent_paths": [], "repeats": 0, **data}


def in_todays_form(path: Path, update: Callable[[Data], Data]) -> object:
    """The content of a recorded file as it would be written today: nothing but JSON types."""
    parse = parse_plan if path.name == PLAN_FILE else parse_round
    return json.loads(json.dumps(asdict(parse(update(json.loads(path.read_text()))))))


def main() -> None:
    for path in RECORDED.rglob("*.json"):
        update = update_plan if path.name == PLAN_FILE else update_round
        write_json(path, in_todays_form(path, update), replace=True)


if __name__ == "__main__":
    main()
