# SPDX-License-Identifier: GPL-2.0-or-later
"""What a measurement is of: a test, an MMU mode, and the variant of the test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Mmu(StrEnum):
    """How L1's KVM maps an L2: which MMU code runs, by module parameters set at load (``MODES``)."""

    TDP = "tdp"
    DIRECT = "direct"
    SHADOW = "shadow"

    @classmethod
    def _missing_(cls, value: object) -> Mmu | None:
        return next((mode for mode in cls if value in MODES[mode].other_names), None)

    @property
    def meaning(self) -> str:
        return MODES[self].meaning

    @property
    def names(self) -> tuple[str, ...]:
        """Every name by which a user may ask for this mode; the first is the one in results."""
        return (self.value, *MODES[self].other_names)

    def parameters(self, vendor_module: str) -> dict[str, dict[str, str]]:
        """Parameters by module, in the order of loading: ``kvm``, then ``kvm_amd`` or ``kvm_intel``.

        Raises KeyError for another module.
        """
        return {module: dict(MODES[self].parameters[module]) for module in ("kvm", vendor_module)}


@dataclass(frozen=True)
class Mode:
    """What a mode is, the parameters of each module that may be loaded for it, and its other names."""

    meaning: str
    parameters: Mapping[str, Mapping[str, str]]
    other_names: tuple[str, ...] = ()


# kvm.tdp_mmu permits the TDP MMU (arch/x86/kvm/mmu/mmu.c, tdp_mmu_allowed); kvm_amd.npt and kvm_intel.ept
# switch two-dimensional paging (TDP) on.
MODES: Mapping[Mmu, Mode] = {
    Mmu.TDP: Mode(
        "the TDP MMU, which is KVM's default",
        {"kvm": {"tdp_mmu": "Y"}, "kvm_amd": {"npt": "Y"}, "kvm_intel": {"ept": "Y"}},
    ),
    Mmu.DIRECT: Mode(
        "the legacy (shadow) MMU code running with TDP, kvm.tdp_mmu=N (KVM's own role.direct is wider: it "
        "covers the TDP MMU too)",
        {"kvm": {"tdp_mmu": "N"}, "kvm_amd": {"npt": "Y"}, "kvm_intel": {"ept": "Y"}},
        other_names=("legacy-tdp",),
    ),
    Mmu.SHADOW: Mode(
        "shadow paging, npt=0 or ept=0",
        {"kvm": {"tdp_mmu": "N"}, "kvm_amd": {"npt": "N"}, "kvm_intel": {"ept": "N"}},
    ),
}


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
