"""What a run set out to do: stored beside the rounds, so that what is missing can be seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from guestloop.results.cells import Cell, Mmu, parse_cell
from guestloop.results.files import read_json, write_json


@dataclass(frozen=True)
class Reach:
    """Where a series can act; cells outside are ``cannot-differ``.

    ``mmu`` empty: everywhere.
    """

    mmu: tuple[Mmu, ...] = ()
    because: str = ""

    def covers(self, mmu: Mmu) -> bool:
        return not self.mmu or mmu in self.mmu


@dataclass(frozen=True)
class PlannedKernel:
    """A kernel of the run, as ``verdict.json`` describes it."""

    name: str
    release: str
    base: str
    series: tuple[str, ...]
    sha256: str
    reach: Reach


@dataclass(frozen=True)
class Plan:
    """Two kernels (reference first), the cells, the number of rounds, and on what machine.

    ``accelerator`` is ``kvm`` or ``tcg``; ``host`` are facts for the reader (CPU, cores, QEMU);
    ``left_out`` says what the profile leaves out, one line each.
    """

    profile: str
    accelerator: str
    host: Mapping[str, str]
    kernels: tuple[PlannedKernel, PlannedKernel]
    cells: tuple[Cell, ...]
    rounds: int
    left_out: tuple[str, ...] = ()


PLAN_FILE = "plan.json"


def write_plan(out: Path, plan: Plan) -> None:
    """Store the plan; raises FileExistsError when the directory already holds one."""
    write_json(out / PLAN_FILE, asdict(plan))


def read_plan(out: Path) -> Plan:
    """The plan of a result directory. Raises LabError when it is damaged."""
    return read_json(out / PLAN_FILE, parse_plan)


def parse_plan(data: Mapping[str, Any]) -> Plan:
    """The inverse of ``asdict`` for a plan."""
    first, second = (_parse_kernel(kernel) for kernel in data["kernels"])
    return Plan(
        profile=data["profile"],
        accelerator=data["accelerator"],
        host=data["host"],
        kernels=(first, second),
        cells=tuple(parse_cell(cell) for cell in data["cells"]),
        rounds=data["rounds"],
        left_out=tuple(data["left_out"]),
    )


def _parse_kernel(data: Mapping[str, Any]) -> PlannedKernel:
    reach = Reach(tuple(Mmu(name) for name in data["reach"]["mmu"]), data["reach"]["because"])
    return PlannedKernel(**{**data, "series": tuple(data["series"]), "reach": reach})
