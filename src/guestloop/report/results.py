# SPDX-License-Identifier: GPL-2.0-or-later
"""A verdict as it was written, read again: every format of a report is made from this, and from nothing else.

``read_result(OUT)`` needs ``OUT/verdict.json`` alone, so that a report can be made where that was sent to.
"""

from __future__ import annotations

import gc
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guestloop.compare import (
    Change,
    Difference,
    ExpectationVerdict,
    KernelState,
    Met,
    Overall,
    Realm,
    Status,
    Subject,
    Weight,
)
from guestloop.ground.codec import decode
from guestloop.ground.errors import ConfigError, Exit
from guestloop.report.verdict_json import SCHEMA_VERSION, VERDICT_FILE
from guestloop.results.cells import Cell, Mmu
from guestloop.results.changes import Changes
from guestloop.results.files import read_json
from guestloop.results.origin import Origin
from guestloop.results.plan import L2Kernel, MadeBy
from guestloop.results.provenance import Expectation, Provenance, Trend
from guestloop.results.reach import NeverRan, Ran, Unproven
from guestloop.results.records import Correctness, Round, parse_round_of
from guestloop.results.sittings import Ending

RUN = "scripts/run"


@dataclass(frozen=True)
class Command:
    """The command line of the run, and the directory where it was given.

    ``words`` are those after ``scripts/run``, without ``--out``; empty when Avocado was started by itself.
    """

    words: tuple[str, ...] = ()
    directory: str = ""

    def __str__(self) -> str:
        """What repeats the run, to be pasted into a shell; empty if that is not known."""
        return shlex.join((RUN, *self.words)) if self.directory else ""


@dataclass(frozen=True)
class Course:
    """When and how it was measured, and by which guestloop; see ``run`` in docs/verdict.schema.json.

    ``started`` and ``ended`` are UTC as in ISO 8601, empty if not known. ``ending`` is None for a run that
    was killed, or measured nothing. ``looks`` are the numbers of rounds per kernel after which cells were
    judged.
    """

    started: str
    ended: str
    ending: Ending | None
    sittings: int
    made_by: MadeBy
    command: Command
    looks: tuple[int, ...]
    budget_s: float | None
    fresh_boots: bool
    correctness_only: bool
    planned_cells: tuple[str, ...]

    @property
    def interrupted(self) -> bool:
        return self.ending is Ending.INTERRUPTED


@dataclass(frozen=True)
class KernelResult:
    """A kernel of the run: what it is, how far it got, and what a candidate changes in the machine code.

    ``identity`` is the build id of its vmlinux as it was read back. ``changes`` is None for a kernel that is
    not the reference with a series.
    """

    name: str
    state: KernelState
    identity: str
    reason: str
    details: tuple[str, ...]
    console: tuple[str, ...]
    late: tuple[str, ...]
    absent_paths: tuple[str, ...]
    release: str
    base: str
    series: tuple[str, ...]
    sha256: str
    origin: Origin
    provenance: Provenance | None
    expectations: tuple[ExpectationVerdict, ...]
    build_ids: Mapping[str, str]
    changes: Changes | None


@dataclass(frozen=True)
class Figure:
    """One thing that was counted on the reference and on a candidate: ``comparison`` in the schema.

    Pairs are (reference, candidate). ``counts`` has a count for each round, and ``exposures`` how many of
    ``unit`` there were in it; ``rates`` are per ``unit``, with the limits that each may pass with 5 %, and
    ``per_work`` per work of the guest. ``ratio`` is None when the reference has none; an upper end of ``ci``
    of None is unbounded. ``mde`` is None if no factor of increase would have been seen. ``absent``: that
    kernel has no such path.
    """

    name: str
    subject: Subject
    weight: Weight
    unit: str
    change: Change
    counts: tuple[tuple[int, ...], tuple[int, ...]]
    exposures: tuple[tuple[float, ...], tuple[float, ...]]
    rates: tuple[float, float]
    limits: tuple[tuple[float, float], tuple[float, float]]
    per_work: tuple[float | None, float | None]
    absent: tuple[bool, bool]
    p_value: float
    alpha: float
    ratio: float | None
    ci: tuple[float, float | None]
    increase: tuple[float, float]
    floor: float
    margin: float
    mde: float | None
    rounds_needed: int | None
    calibrated: bool

    @property
    def totals(self) -> tuple[int, int]:
        """All counts of each kernel."""
        return sum(self.counts[0]), sum(self.counts[1])


@dataclass(frozen=True)
class CandidateResult:
    """What a cell says of one candidate.

    ``figures`` has the weightiest first, and ``decisive`` is one of them. ``rounds_used`` are how many rounds
    of the reference and of the candidate they rest on.
    ``accepted``, ``unlike_load`` and ``busy`` are as in docs/verdict.schema.json; ``reach`` is None if it was
    not looked at which of the functions that differ ran.
    """

    name: str
    status: Status
    reason: str
    accepted: bool
    rounds_used: tuple[int, int]
    unlike_load: int
    busy: bool
    reach: Ran | NeverRan | Unproven | None
    decisive: Figure | None
    figures: tuple[Figure, ...]

    @property
    def paths(self) -> tuple[Figure, ...]:
        """The call paths."""
        return tuple(one for one in self.figures if one.subject is Subject.PATH)

    @property
    def undecided(self) -> bool:
        return self.status.undecided and not self.accepted


@dataclass(frozen=True)
class CellResult:
    """A cell with all its rounds, in the order of number and kernel; ``correctness`` is by kernel."""

    id: str
    cell: Cell
    status: Status
    reason: str
    candidates: Mapping[str, CandidateResult]
    correctness: Mapping[str, Correctness]
    rounds: tuple[Round, ...]
    evidence: tuple[str, ...]

    def on(self, kernel: str) -> tuple[Round, ...]:
        """The rounds on one kernel."""
        return tuple(item for item in self.rounds if item.kernel == kernel)


@dataclass(frozen=True)
class Result:
    """The verdict on a run. ``kernels`` has every kernel by name, the reference first."""

    verdict: Overall
    answer: str
    summary: str
    course: Course
    accelerator: str
    profile: str
    host: Mapping[str, str]
    reference: str
    kernels: Mapping[str, KernelResult]
    l2_kernel: L2Kernel | None
    differences: tuple[Difference, ...]
    cells: tuple[CellResult, ...]
    left_out: tuple[str, ...]

    @property
    def exit_status(self) -> Exit:
        """That of ``scripts/compare``; an interrupted ``scripts/run`` itself exits with 130."""
        return self.verdict.exit_status

    @property
    def candidates(self) -> tuple[KernelResult, ...]:
        return tuple(kernel for name, kernel in self.kernels.items() if name != self.reference)


def read_result(out: Path) -> Result:
    """The verdict that is stored in a result directory.

    Raises ConfigError if there is none, or one of another schema, and LabError if it is damaged.
    """
    path = out / VERDICT_FILE
    if not path.is_file():
        raise ConfigError(f"{out}: no {VERDICT_FILE} in it", hint=f"scripts/compare {out} makes it")
    with _without_collector():
        return read_json(path, lambda data: _parse_checked(path, data))


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
    kept = ("started", "ended", "sittings", "budget_s", "fresh_boots", "correctness_only")
    return Course(
        **{name: data[name] for name in kept},
        ending=Ending(data["ending"]) if data["ending"] else None,
        made_by=MadeBy(**data["made_by"]),
        command=Command(_without_out(data["arguments"][1:]), data["directory"]),
        looks=tuple(data["looks"]),
        planned_cells=tuple(data["planned_cells"]),
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
        state=KernelState(data["state"]),
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
    cell = Cell(data["test"], Mmu(data["mmu"]), data["variant"])
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
