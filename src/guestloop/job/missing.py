# SPDX-License-Identifier: GPL-2.0-or-later
"""Rounds that their tests did not write: the process died, or the test could not even be loaded."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from guestloop.ground.errors import ConfigError
from guestloop.job.schedule import Slot
from guestloop.results.cells import Mmu
from guestloop.results.findings import Finding, FindingKind
from guestloop.results.plan import read_plan
from guestloop.results.records import Outcome, Round, round_path, write_round
from guestloop.workloads.catalog import cell_of


def write_missing_round(out: Path, test: Mapping[str, Any]) -> None:
    """Write the round of a test that has ended without writing it.

    ``test`` is Avocado's description of a finished test. One that is not in the plan is left alone.
    """
    plan, slot = read_plan(out), _slot_of(test)
    planned = slot and slot.kernel in plan.kernels.names and slot.cell.id in {cell.id for cell in plan.cells}
    if not slot or not planned:
        return
    if round_path(out, slot.cell, slot.kernel, slot.round).exists():
        return
    text = _why(test)
    record = Round(
        cell=slot.cell,
        kernel=slot.kernel,
        round=slot.round,
        repeats=slot.repeats,
        boot=0,
        outcome=Outcome.INVALID,
        reason=text,
        findings=(Finding(FindingKind.INTERRUPTED, text),),
    )
    with suppress(FileExistsError):  # the test has written it just now, which is better
        write_round(out, record)


def _slot_of(test: Mapping[str, Any]) -> Slot | None:
    """What a test measures, by its tags and parameters as ``GuestTest`` reads them; None: no guest test."""
    values = {key: str(value) for _path, key, value in test["params"]}
    try:
        cell = cell_of(test["tags"], values.get("mmu", Mmu.TDP), values)
    except ConfigError:
        return None
    number, repeats = int(values.get("round", 1)), int(values.get("repeats", 0))
    return Slot(cell, values.get("kernel", "unpatched"), number, repeats)


def _why(test: Mapping[str, Any]) -> str:
    reason = test.get("fail_reason") or f"the test ended ({test['status']}) and wrote no result"
    return f"{test['fail_class']}: {reason}" if test.get("fail_class") else str(reason)
