# SPDX-License-Identifier: GPL-2.0-or-later
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
from guestloop.results.changes import Probed
from guestloop.results.files import read_json, write_json
from guestloop.results.findings import Bearing, Finding, parse_finding
from guestloop.results.load import Load

Counts = Mapping[str, int]

BUILD_ID = ".build_id"
"""Ends the names of facts that are GNU build ids, read back from what runs: ``kvm.build_id``."""

VMLINUX_BUILD_ID = f"vmlinux{BUILD_ID}"
"""The fact of a round that holds the GNU build id of the running L1 kernel."""

DIGEST = "sha256."
"""Begins the names of facts that are the SHA-256 of what the round ran with, beside the kernels (plan.py)."""

BOOT = "boot."
"""Begins the names of facts that the L1 kernel had from its boot on (agent/boot_facts.py)."""

SETTINGS = "settings."
"""Begins the names of facts that are settings of the L1 kernel, as they read back (agent/settings.py)."""
L2_BUILD_ID = f"l2.{VMLINUX_BUILD_ID}"
"""The fact of a round that holds the GNU build id of the running L2 kernel, read back from it."""


class Correctness(StrEnum):
    """Did the guest's memory hold what it must hold?"""

    PASS = "pass"
    FAIL = "fail"
    NOT_RUN = "not-run"


class Outcome(StrEnum):
    """What became of a round: ``invalid`` proves nothing, ``skipped`` lacked something that it needs."""

    MEASURED = "measured"
    INVALID = "invalid"
    SKIPPED = "skipped"


class Work(StrEnum):
    """What was done to the guest or its pages, as the load in the guest or the agent reports it.

    It does not depend on how often the kernel did something for it, as events do.
    """

    VISITED = "pages_visited"  # by the load
    DIRTIED = "pages_dirtied"  # by the load: pages that a visit wrote, each once
    SCANNED = "pages_scanned"  # by L1, which was asked whether they were used
    MIGRATED = "migrations"  # of the guest

    @property
    def unit(self) -> str:
        """One of them, in words."""
        return "migration" if self is Work.MIGRATED else self.replace("pages_", "page ")


@dataclass(frozen=True)
class Phase:
    """A named part of a round with its own counts."""

    seconds: float
    counters: Counts
    paths: Counts
    requests: Counts = field(default_factory=dict)


@dataclass(frozen=True)
class Round:
    """One measurement of a cell on one kernel.

    ``events`` prove that the work happened (``page_ready``, ``pages_swapped_in``, ...), and ``event``
    names the one that flushes are counted against. ``counters`` are differences of KVM's statistics
    over the round (``remote_tlb_flush_requests``, ``remote_tlb_flush``, and the vCPU counters summed
    over vCPUs), ``paths`` are flush requests by named call path. ``judged`` names the paths that the
    workload is about, ``incidental`` those whose requests come from what the test itself does to set
    the scene, and decide nothing. ``absent_paths`` are those that this kernel has no functions for: nothing
    could be counted on them. ``requests`` are the other requests to all vCPUs, by request and call path
    (``mmu_free_obsolete_roots/memslot``).

    ``work`` is what was done to the guest's pages meanwhile (``Work``), and ``work_unit`` names the one that
    flushes are related to. Events are the kernel's own behaviour, and differ between kernels for the same
    work.

    ``repeats`` is the number of the round that this one repeats, because that was invalid on some kernel; 0
    for a planned round. ``boot`` counts the boots of this kernel's L1 in this run; 0 when the round never had
    a running L1.
    ``seconds`` is wall time from the moment when L1 is there (its boot left out) to the judgement.
    ``facts`` hold what was read back (module parameters, releases, build ids), and how much slower than
    usual this machine was (``pace``). ``findings`` are what was
    found wrong, or why the round proves nothing, as data; ``reason`` is the same as one text for people.
    ``load`` is how busy the machine was; None when L1 was gone at the end, or nobody recorded it.
    ``probed`` is None in a round that ran without probes on the functions that a series changes.
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
    work: Counts = field(default_factory=dict)
    work_unit: str = ""
    absent_paths: tuple[str, ...] = ()
    requests: Counts = field(default_factory=dict)
    load: Load | None = None
    repeats: int = 0
    probed: Probed | None = None

    @property
    def slowdown(self) -> float | None:
        """How many times longer what was counted took than on an idle machine; None where it is not known."""
        return self.load.slowdown if self.load else None

    @property
    def is_disturbed(self) -> bool:
        """Probes were hit while it counted, which takes time: it proves what it proves, but not a rate."""
        return self.probed is not None and self.probed.disturbing > 0

    @property
    def is_wrong(self) -> bool:
        """The kernel did something wrong in this round, whether or not the round proves anything else."""
        return self.correctness is Correctness.FAIL or self._has(Bearing.WRONG)

    @property
    def is_invalid(self) -> bool:
        """The round proves nothing."""
        return self.outcome is Outcome.INVALID or self._has(Bearing.INVALID)

    @property
    def is_skipped(self) -> bool:
        """The machine or the kernel lacked something that the cell needs."""
        return self.outcome is Outcome.SKIPPED or self._has(Bearing.SKIPPED)

    def first_line(self, bearing: Bearing) -> str:
        """The first line of the first finding that bears so on the round, else that of ``reason``."""
        texts = [finding.text for finding in self.findings if finding.kind.bearing is bearing]
        return next(iter((texts or [self.reason])[0].splitlines()), "")

    def _has(self, bearing: Bearing) -> bool:
        return any(finding.kind.bearing is bearing for finding in self.findings)


def build_id_fact(module: str) -> str:
    """The fact that holds the build id of ``vmlinux`` or of a module, ``kvm-amd`` or ``kvm_amd``."""
    return f"{module.replace('-', '_')}{BUILD_ID}"


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


def _parse_probed(data: Mapping[str, Any]) -> Probed:
    """In rounds of an earlier guestloop all probes stayed, so each hit may have disturbed a count."""
    return Probed(**{"disturbing": sum(data["hits"].values()), **data})


def parse_round(data: Mapping[str, Any]) -> Round:
    """The inverse of ``asdict`` for a round."""
    return parse_round_of(parse_cell(data["cell"]), data)


def parse_round_of(cell: Cell, data: Mapping[str, Any]) -> Round:
    """A round of a cell that is known already."""
    fields = {**data, "cell": cell}
    fields.pop("by_work", None)  # an earlier guestloop named paths that were divided by work in any case
    fields["outcome"] = Outcome(data["outcome"])
    fields["correctness"] = Correctness(data["correctness"])
    fields["phases"] = {name: Phase(**phase) for name, phase in data["phases"].items()}
    for name in ("judged", "incidental", "evidence", "absent_paths"):
        fields[name] = tuple(data.get(name, ()))
    fields["load"] = Load(**load) if (load := data.get("load")) else None
    fields["probed"] = _parse_probed(probed) if (probed := data.get("probed")) else None
    fields["findings"] = tuple(parse_finding(finding) for finding in data["findings"])
    return Round(**fields)
