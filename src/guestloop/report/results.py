# SPDX-License-Identifier: GPL-2.0-or-later
"""A verdict as it was written: every format of a report is made from this, and from nothing else."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from guestloop.compare import (
    Change,
    Difference,
    ExpectationVerdict,
    KernelState,
    Kind,
    Overall,
    Status,
    Subject,
    Weight,
    render_rate,
)
from guestloop.ground.errors import Exit
from guestloop.results.cells import Cell
from guestloop.results.changes import Changes
from guestloop.results.origin import Origin
from guestloop.results.plan import L2Kernel, MadeBy
from guestloop.results.provenance import Provenance
from guestloop.results.reach import NeverRan, Ran, Unproven
from guestloop.results.records import Correctness, Round
from guestloop.results.sittings import Ending
from guestloop.results.sizes import USUAL, Sizes

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

    ``id`` tells its results from all others. ``started`` and ``ended`` are UTC as in ISO 8601, empty if not
    known. ``ending`` is None for a run that was killed, or measured nothing. ``looks`` are the numbers of
    rounds per kernel after which cells were judged.
    """

    id: str
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
    sizes: Sizes = USUAL

    @property
    def interrupted(self) -> bool:
        return self.ending is Ending.INTERRUPTED


@dataclass(frozen=True)
class KernelResult:
    """A kernel of the run: what it is, how far it got, and what a candidate changes in the machine code.

    ``kind`` is how a candidate differs from the reference; None for the reference. ``regression``: it does
    not compile or boot, and the reference does. ``identity`` is the build id of its vmlinux as it was read
    back. ``changes`` is None for a kernel that is not the reference with a series.
    """

    name: str
    kind: Kind | None
    state: KernelState
    regression: bool
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

    def render_rate(self, rate: float) -> str:
        """A rate of this for people: a share in per cent."""
        return f"{100 * rate:.1f} %" if self.subject is Subject.SHARE else render_rate(rate)

    @property
    def per(self) -> str:
        """``per page-ready event``, or ``of touched pages``."""
        return f"of {self.unit}s" if self.subject is Subject.SHARE else f"per {self.unit}"

    @property
    def decides(self) -> bool:
        """Its change makes the status of the cell."""
        return self.weight is not Weight.SHOWN

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
