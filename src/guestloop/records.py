"""The raw results: what one round measured, as it is stored and as ``verdict.json`` repeats it.

A round file is written once, whole or not at all, by the test that measured it; comparing reads
round files and nothing else, so a verdict can be recomputed without a guest.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO, TypeVar

from guestloop.config import Mmu
from guestloop.errors import LabError

T = TypeVar("T")
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
class Cell:
    """One test x one MMU mode x one variant, measured on both kernels.

    ``variant`` has a value for every axis of the test. ``usual`` names axes that are left out of the
    cell's name because they have their usual value, so that a new axis renames no cell that exists.
    """

    test: str
    mmu: Mmu
    variant: Mapping[str, str]
    usual: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """``asyncpf/shadow/read-shared``, further axes as in ``read-shared,vcpus=2``."""
        first, *others = self.variant.items()
        further = [f"{axis}={value}" for axis, value in others if axis not in self.usual]
        return "/".join([self.test, self.mmu, ",".join([first[1], *further])])


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


def round_path(out: Path, cell: Cell, kernel: str, number: int) -> Path:
    """Where a round is stored below the result directory."""
    return out / "rounds" / cell.id / f"{kernel}.{number}.json"


def write_round(out: Path, record: Round) -> Path:
    """Store a round; raises FileExistsError rather than replace a result."""
    path = round_path(out, record.cell, record.kernel, record.round)
    write_json(path, asdict(record))
    return path


def write_json(path: Path, data: object, *, replace: bool = False) -> None:
    """Write a JSON file whole or not at all, also if killed. Raises FileExistsError unless ``replace``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data, indent=1) + "\n"
    if replace or not _write_nameless(path, text):
        _write_beside(path, text, replace=replace)


def _write_nameless(path: Path, text: str) -> bool:
    """Write a new file that has no name until it is whole; False where the file system cannot (NFS)."""
    try:
        handle = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR):
            return False
        raise
    with os.fdopen(handle, "w") as file:
        _write_through(file, text)
        # Any src_dir_fd makes this linkat() with AT_SYMLINK_FOLLOW, as open(2) has it for O_TMPFILE.
        os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=handle)
    return True


def _write_beside(path: Path, text: str, *, replace: bool) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w") as file:
            _write_through(file, text)
        if replace:
            partial.replace(path)
        else:
            os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_through(file: TextIO, text: str) -> None:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())


def read_json(path: Path, parse: Callable[[Any], T]) -> T:
    """A stored result. Raises LabError naming a file that is damaged or of another version."""
    try:
        return parse(json.loads(path.read_text()))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        message = f"{path}: cannot be read as a result: {type(error).__name__}: {error}"
        raise LabError(message, hint="is it damaged, or of another version of guestloop?") from error


def read_rounds(out: Path) -> list[Round]:
    """All stored rounds, by cell, then number, then kernel. Raises LabError for one that is damaged."""
    rounds = [read_json(path, parse_round) for path in (out / "rounds").rglob("*.json")]
    return sorted(rounds, key=lambda item: (item.cell.id, item.round, item.kernel))


def parse_cell(data: Mapping[str, Any]) -> Cell:
    """The inverse of ``asdict`` for a cell."""
    usual = tuple(data.get("usual", ()))
    return Cell(data["test"], Mmu(data["mmu"]), dict(data["variant"]), usual)


def parse_round(data: Mapping[str, Any]) -> Round:
    """The inverse of ``asdict`` for a round."""
    fields = dict(data)
    fields["cell"] = parse_cell(data["cell"])
    fields["outcome"] = Outcome(data["outcome"])
    fields["correctness"] = Correctness(data["correctness"])
    fields["phases"] = {name: Phase(**phase) for name, phase in data["phases"].items()}
    for name in ("judged", "incidental", "evidence"):
        fields[name] = tuple(data[name])
    return Round(**fields)
