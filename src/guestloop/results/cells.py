"""What a measurement is of: a test, an MMU mode, and the variant of the test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Mmu(StrEnum):
    """How L1's KVM maps an L2: which MMU code runs, by module parameters set at load."""

    TDP = "tdp"
    DIRECT = "direct"
    SHADOW = "shadow"

    @property
    def meaning(self) -> str:
        return {
            Mmu.TDP: "TDP MMU on nested/extended paging (default)",
            Mmu.DIRECT: "shadow-MMU code on nested/extended paging (kvm.tdp_mmu=N)",
            Mmu.SHADOW: "shadow paging (npt=0 or ept=0)",
        }[self]


@dataclass(frozen=True)
class Cell:
    """One test x one MMU mode x one variant, measured on every kernel of a run.

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


def parse_cell(data: Mapping[str, Any]) -> Cell:
    """The inverse of ``asdict`` for a cell."""
    usual = tuple(data.get("usual", ()))
    return Cell(data["test"], Mmu(data["mmu"]), dict(data["variant"]), usual)
