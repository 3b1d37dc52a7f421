"""The raw results: what one round measured, as it is stored and as ``verdict.json`` repeats it.

A round file is written once, whole or not at all, by the test that measured it; comparing reads
round files and nothing else, so a verdict can be recomputed without a guest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from guestloop.results.cells import Cell, parse_cell
from guestloop.results.files import read_json, write_json
from guestloop.results.findings import Finding, parse_finding

Counts = Mapping[str, int]


class Correctness(StrEnum):
    """Did the guest's memory hold what it must hold?"""

    PASS = "pass"
    FAIL = "fail"
    NOT_RUN = "not-run"


class Outcome(StrEnum):
    """What became of a round: ``invalid`` could not prove its events, ``skipped`` lacked something."""

    MEASURED = "measured"
    INVALID = "invalid"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Phase:
    """A named part of a round with its own counts."""

    seconds: float
    counters: Counts
    paths: Counts


@dataclass(frozen=True)
class Round:
    """One measurement of a cell on one kernel.

    ``events`` prove the work happened (``page_ready``, ``pages_swapped_in``, ...), and
    ``event`` names the one that flushes are counted against. ``counters`` are differences of KVM's
    statistics over the round (``remote_tlb_flush_requests``, ``remote_tlb_flush``, and the vCPU
    counters summed over vCPUs), ``paths`` are flush requests by named call path. ``judged`` names
    the paths that the workload is about, ``incidental`` those whose requests come from what the test itself
    does to set the scene, and decide nothing. ``boot`` counts the boots of this kernel's L1 in this run,
    ``seconds`` is wall time from L1 being there (its boot left out) to the judgement. ``facts`` hold what
    was read back (module parameters, releases).
    """

    cell: Cell
    kernel: str
    round: int
    boot: int
    outcome: Outcome
    reason: str = ""
    correctness: Correctness = Correctness.NOT_RUN
    event: str = ""
    events: Counts = field(default_factory=dict)
    counters: Counts = field(default_factory=dict)
    phases: Mapping[str, Phase] = field(default_factory=dict)
    paths: Counts = field(default_factory=dict)
    judged: tuple[str, ...] = ()
    incidental: tuple[str, ...] = ()
    seconds: float = 0.0
    facts: Mapping[str, str] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def round_path(out: Path, cell: Cell, kernel: str, number: int) -> Path:
    """Where a round is stored below the result directory."""
    return out / "rounds" / cell.id / f"{kernel}.{number}.json"


def write_round(out: Path, record: Round) -> Path:
    """Store a round; raises FileExistsError rather than replace a result."""
    path = round_path(out, record.cell, record.kernel, record.round)
    write_json(path, asdict(record))
    return path


def read_rounds(out: Path) -> list[Round]:
    """All stored rounds, by cell, then number, then kernel. Raises LabError for one that is damaged."""
    rounds = [read_json(path, parse_round) for path in (out / "rounds").rglob("*.json")]
    return sorted(rounds, key=lambda item: (item.cell.id, item.round, item.kernel))


def parse_round(data: Mapping[str, Any]) -> Round:
    """The inverse of ``asdict`` for a round."""
    fields = dict(data)
    fields["cell"] = parse_cell(data["cell"])
    fields["outcome"] = Outcome(data["outcome"])
    fields["correctness"] = Correctness(data["correctness"])
    fields["phases"] = {name: Phase(**phase) for name, phase in data["phases"].items()}
    fields["findings"] = tuple(parse_finding(finding) for finding in data["findings"])
    for name in ("judged", "incidental", "evidence"):
        fields[name] = tuple(data[name])
    return Round(**fields)
