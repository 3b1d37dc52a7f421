# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run set out to do: stored beside the rounds, so that what is missing can be seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from guestloop.ground.codec import decode
from guestloop.results.cells import Cell, Mmu, parse_cell
from guestloop.results.changes import Changes
from guestloop.results.files import read_json, write_json
from guestloop.results.origin import Origin
from guestloop.results.provenance import Expectation, Failure, Provenance
from guestloop.results.reach import Ran
from guestloop.results.sizes import USUAL, Sizes


@dataclass(frozen=True)
class Reach:
    """Where a series can act; cells outside are ``cannot-differ``.

    ``mmu`` empty: everywhere.
    """

    mmu: tuple[Mmu, ...] = ()
    because: str = ""

    def covers(self, mmu: Mmu) -> bool:
        """A mode of some hardware is covered as the one whose code it runs."""
        return not self.mmu or mmu in self.mmu or mmu.code in self.mmu


@dataclass(frozen=True)
class PlannedKernel:
    """A kernel of the run, as ``verdict.json`` describes it.

    ``name`` is its label in the results, ``sha256`` identifies the build, ``origin`` what was named and what
    was taken for it. ``unnamed_callers`` are functions of its KVM that request flushes, on a way that no rule
    of counters/paths.py names: their flushes are counted as ``other:<function>``. ``options`` are those of
    its configuration that bear on what is measured; empty when it is not known. ``provenance`` is None for a
    kernel that existed already. ``changes`` is what differs between the machine code of a candidate and that
    of the reference; None for a kernel that is not the reference with a series. With a ``failure`` there is
    no kernel: ``release`` and ``sha256`` are empty.
    ``build_ids`` are the GNU build ids of ``vmlinux`` and of its modules, by name; empty in results of a
    guestloop that did not record them.
    """

    name: str
    release: str
    base: str
    series: tuple[str, ...]
    sha256: str
    reach: Reach
    origin: Origin
    unnamed_callers: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    provenance: Provenance | None = None
    expect: tuple[Expectation, ...] = ()
    failure: Failure | None = None
    build_ids: Mapping[str, str] = field(default_factory=dict)
    changes: Changes | None = None

    def is_same_build(self, other: PlannedKernel) -> bool:
        """The two are byte for byte the same: nothing that differs between them is due to a kernel."""
        return self.sha256 == other.sha256 and not self.failure


@dataclass(frozen=True)
class Kernels:
    """The kernels of a run: one reference, and one or more candidates that are compared with it.

    Iterating yields all of them, the reference first. Raises ValueError when there is no candidate, when two
    have the same name, which is what tells their rounds apart, or when there is no reference to compare with.
    """

    reference: PlannedKernel
    candidates: tuple[PlannedKernel, ...]

    def __post_init__(self) -> None:
        if not self.candidates:
            raise ValueError(f"no kernel is compared with {self.reference.name}")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"two kernels have the same name: {', '.join(self.names)}")
        if self.reference.failure:
            raise ValueError(f"nothing can be compared with {self.reference.name}, which is no kernel")

    def __iter__(self) -> Iterator[PlannedKernel]:
        yield self.reference
        yield from self.candidates

    @property
    def names(self) -> tuple[str, ...]:
        """The name of every kernel, the reference first."""
        return tuple(kernel.name for kernel in self)

    @property
    def measured(self) -> tuple[PlannedKernel, ...]:
        """The kernels that are booted and measured, the reference first: those that could be built."""
        return tuple(kernel for kernel in self if not kernel.failure)

    @property
    def are_identical(self) -> bool:
        """An A/A run: every candidate is the same build as the reference."""
        return all(kernel.is_same_build(self.reference) for kernel in self.candidates)

    def same_build_as(self, kernel: PlannedKernel) -> tuple[PlannedKernel, ...]:
        """The kernels of the run that are the same build as this one, which is among them."""
        return tuple(other for other in self if other.is_same_build(kernel))


@dataclass(frozen=True)
class L2Kernel:
    """The kernel that every L2 of a run boots, whatever kernel its L1 runs.

    ``base`` names its source with the version, ``config_sha256`` is the digest of its whole configuration,
    ``compiler`` the compiler's own line about its version, ``build_id`` the GNU build id of its vmlinux.
    """

    release: str
    base: str
    config_sha256: str
    compiler: str
    build_id: str

    @property
    def facts(self) -> dict[str, str]:
        """What each round says about it, besides the build id that is read back from a running L2."""
        return {
            "l2.release": self.release,
            "l2.base": self.base,
            "l2.config_sha256": self.config_sha256,
            "l2.compiler": self.compiler,
        }


@dataclass(frozen=True)
class MadeBy:
    """The guestloop that measured.

    ``commit`` is that of its checkout, and ``modified`` says that there were changes beside it; empty and
    False where it is no checkout.
    """

    version: str = ""
    commit: str = ""
    modified: bool = False

    def __str__(self) -> str:
        """``guestloop 0.1.0 (9dddd95a1c2b, modified)``."""
        about = ", ".join(filter(None, (self.commit[:12], "modified" if self.modified else "")))
        return f"guestloop {self.version}".rstrip() + (f" ({about})" if about else "")


@dataclass(frozen=True)
class Plan:
    """The kernels, the cells, how many rounds of a cell on each kernel, and on what machine.

    ``looks`` are the numbers of rounds per kernel after which the run is judged, in rising order: the first
    has every cell, a later one those that are not settled by then. ``budget_s`` is for how long rounds are
    measured, in seconds; the first look is measured whole, however long it takes. None: until all is settled.

    ``arguments`` are the words of the command line, and ``directory`` is where it was given: --resume finds
    the kernels again by them. Both are empty when Avocado was started by itself. ``fresh_boots``: L1 is
    booted anew for each round.

    ``started`` is when the run began to measure, UTC as in ISO 8601, ``run_id`` a UUID that tells its results
    from all others, and ``made_by`` the guestloop that did it; all are empty in results of one that did not
    record them.

    ``accelerator`` is ``kvm`` or ``tcg``; ``host`` are facts for the reader (CPU, cores, QEMU);
    ``left_out`` says what the profile leaves out, one line each. ``l2_kernel`` is None in results of a
    guestloop that did not record it: L2 then ran the reference kernel. ``digests`` are the SHA-256 of what
    all rounds run with beside the kernels: ``qemu`` of L1, ``l1_root``, ``agent`` and ``l2_initramfs``.

    ``probe_changed``: the first round of each cell runs with probes on the functions that differ between the
    kernels. ``known_reach`` has, by candidate and cell, which of them an earlier run has seen to run.

    ``correctness_only``: a rate that is not settled leaves no cell open, so that the run is no verdict on
    cost. What changed with certainty is claimed all the same.

    ``sizes`` are those of every L1, L2 and region of the run. A guestloop that did not record them had the
    usual ones.

    Raises ValueError for looks that do not rise from 1 or more.
    """

    profile: str
    accelerator: str
    host: Mapping[str, str]
    kernels: Kernels
    cells: tuple[Cell, ...]
    looks: tuple[int, ...]
    left_out: tuple[str, ...] = ()
    l2_kernel: L2Kernel | None = None
    budget_s: float | None = None
    fresh_boots: bool = False
    correctness_only: bool = False
    arguments: tuple[str, ...] = ()
    directory: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    probe_changed: bool = False
    known_reach: Mapping[str, Mapping[str, Ran]] = field(default_factory=dict)
    started: str = ""
    run_id: str = ""
    made_by: MadeBy = field(default_factory=MadeBy)
    sizes: Sizes = USUAL

    def __post_init__(self) -> None:
        check_looks(self.looks)

    @property
    def rounds(self) -> int:
        """How many rounds each kernel must have in every cell."""
        return self.looks[0]

    def _first_like(self, cell: Cell) -> Cell:
        return next(one for one in self.cells if (one.test, one.mmu) == (cell.test, cell.mmu))

    def probes(self, cell: Cell, kernel: str, number: int, repeats: int = 0) -> bool:
        """Whether a round of this kernel runs with probes on the functions that differ.

        It is the first of its cell, or repeats that, and is not known to be disturbed by them. A round in
        which probes are hit gives no rate, so only the first cell of each test in each MMU mode is probed:
        what runs there is likely to run in the others too.
        """
        if not self.probe_changed or 1 not in (number, repeats) or cell != self._first_like(cell):
            return False
        unknown = {
            candidate.name
            for candidate in self.kernels.candidates
            if candidate.changes
            and candidate.changes.functions
            and cell.id not in self.known_reach.get(candidate.name, {})
        }
        return kernel in unknown or (kernel == self.kernels.reference.name and bool(unknown))


def check_looks(looks: tuple[int, ...]) -> None:
    """Raise ValueError for looks that do not rise from 1 or more."""
    if not looks or looks[0] < 1 or any(a >= b for a, b in pairwise(looks)):
        raise ValueError(f"looks rise from 1 or more, seen: {', '.join(map(str, looks)) or 'none'}")


PLAN_FILE = "plan.json"


def write_plan(out: Path, plan: Plan) -> None:
    """Store the plan; raises FileExistsError when the directory already holds one."""
    write_json(out / PLAN_FILE, asdict(plan))


def read_plan(out: Path) -> Plan:
    """The plan of a result directory. Raises LabError when it is damaged."""
    return read_json(out / PLAN_FILE, parse_plan)


def parse_plan(data: Mapping[str, Any]) -> Plan:
    """The inverse of ``asdict`` for a plan."""
    return Plan(
        profile=data["profile"],
        accelerator=data["accelerator"],
        host=data["host"],
        kernels=_parse_kernels(data["kernels"]),
        cells=tuple(parse_cell(cell) for cell in data["cells"]),
        looks=tuple(data["looks"] if "looks" in data else [data["rounds"]]),
        left_out=tuple(data["left_out"]),
        l2_kernel=_parse_l2_kernel(data.get("l2_kernel")),
        budget_s=data.get("budget_s"),
        fresh_boots=data.get("fresh_boots", False),
        correctness_only=data.get("correctness_only", False),
        arguments=tuple(data.get("arguments", ())),
        directory=data.get("directory", ""),
        digests=data.get("digests", {}),
        probe_changed=data.get("probe_changed", False),
        known_reach=decode(dict[str, dict[str, Ran]], data.get("known_reach", {})),
        started=data.get("started", ""),
        run_id=data.get("run_id", ""),
        made_by=decode(MadeBy, data.get("made_by", {})),
        sizes=decode(Sizes, data.get("sizes", {})),
    )


def _parse_l2_kernel(data: Mapping[str, Any] | None) -> L2Kernel | None:
    return L2Kernel(**data) if data else None


def _parse_kernels(data: Mapping[str, Any]) -> Kernels:
    candidates = tuple(_parse_kernel(kernel) for kernel in data["candidates"])
    return Kernels(_parse_kernel(data["reference"]), candidates)


def _parse_kernel(data: Mapping[str, Any]) -> PlannedKernel:
    reach = Reach(tuple(Mmu(name) for name in data["reach"]["mmu"]), data["reach"]["because"])
    read = {
        "series": tuple(data["series"]),
        "reach": reach,
        "origin": decode(Origin, data["origin"]),
        "unnamed_callers": tuple(data.get("unnamed_callers", ())),
        # Not recorded by a guestloop that stopped at a kernel it could not build.
        "provenance": decode(Provenance, made) if (made := data.get("provenance")) else None,
        "expect": tuple(decode(Expectation, one) for one in data.get("expect", ())),
        "changes": decode(Changes, changed) if (changed := data.get("changes")) else None,
        "failure": decode(Failure, failed) if (failed := data.get("failure")) else None,
    }
    return PlannedKernel(**{**data, **read})
