# SPDX-License-Identifier: GPL-2.0-or-later
"""What a measurement is of: a test, an MMU mode, and the variant of the test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Mmu(StrEnum):
    """How L1's KVM maps an L2: which MMU code runs, by module parameters set at load (``MODES``).

    The first three are there on every host, the others only on hardware that has what they need.
    """

    TDP = "tdp"
    DIRECT = "direct"
    SHADOW = "shadow"
    TDP_PML = "tdp-pml"
    DIRECT_PML = "direct-pml"
    TDP_NO_EPTAD = "tdp-no-eptad"
    DIRECT_NO_EPTAD = "direct-no-eptad"

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

    @property
    def code(self) -> Mmu:
        """The mode that runs the same MMU code, with what hardware usually does."""
        return MODES[self].like or self

    @property
    def is_everywhere(self) -> bool:
        """There on every host, whoever made its CPU."""
        return self.code is self

    def lacks(self, vendor_module: str) -> str:
        """What a mode needs that KVM of this vendor never has; empty if it may have it."""
        own = MODES[self].parameters
        if vendor_module in own or vendor_module not in VENDOR_MODULES:
            return ""
        others = " and ".join(name for name in own if name in VENDOR_MODULES)
        return f"{MODES[self].feature}: {others} may have it, {vendor_module} has not"

    def parameters(self, vendor_module: str) -> dict[str, dict[str, str]]:
        """Parameters by module, in the order of loading: ``kvm``, then ``kvm_amd`` or ``kvm_intel``.

        Raises KeyError for another module, and for one that ``lacks`` what the mode needs.
        """
        return {module: dict(MODES[self].parameters[module]) for module in ("kvm", vendor_module)}


@dataclass(frozen=True)
class Mode:
    """What a mode is, the parameters of each module that may be loaded for it, and its other names.

    One that needs a ``feature`` of some hardware is ``like`` the mode with the same MMU code.
    """

    meaning: str
    parameters: Mapping[str, Mapping[str, str]]
    other_names: tuple[str, ...] = ()
    feature: str = ""
    like: Mmu | None = None


VENDOR_MODULES = ("kvm_amd", "kvm_intel")
PML, NO_EPTAD = "PML", "EPT without A/D bits"


def _with_pml(like: Mmu, tdp_mmu: str) -> Mode:
    """Dirty pages are logged by the CPU: nothing is write-protected (arch/x86/kvm/mmu/mmu.c:
    kvm_arch_mmu_enable_log_dirty_pt_masked), but the Dirty bits of SPTEs are cleared.
    """
    intel = {"ept": "Y", "eptad": "Y", "pml": "Y"}
    meaning = f"{like} with page-modification logging; Intel only"
    return Mode(meaning, {"kvm": {"tdp_mmu": tdp_mmu}, "kvm_intel": intel}, feature=PML, like=like)


def _without_eptad(like: Mmu, tdp_mmu: str) -> Mode:
    """Age is tracked by SPTEs that are not present (arch/x86/kvm/mmu/spte.c: mark_spte_for_access_track)."""
    intel = {"ept": "Y", "eptad": "N", "pml": "N"}
    meaning = f"{like} without Accessed and Dirty bits, kvm_intel.eptad=0; Intel only"
    return Mode(meaning, {"kvm": {"tdp_mmu": tdp_mmu}, "kvm_intel": intel}, feature=NO_EPTAD, like=like)


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
    Mmu.TDP_PML: _with_pml(Mmu.TDP, "Y"),
    Mmu.DIRECT_PML: _with_pml(Mmu.DIRECT, "N"),
    Mmu.TDP_NO_EPTAD: _without_eptad(Mmu.TDP, "Y"),
    Mmu.DIRECT_NO_EPTAD: _without_eptad(Mmu.DIRECT, "N"),
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
    def name(self) -> str:
        """What tells it from the other cells of its test in its MMU mode: ``read-shared,vcpus=2``."""
        first, *others = self.variant.items()
        further = [f"{axis}={value}" for axis, value in others if axis not in self.usual]
        return ",".join([first[1], *further])

    @property
    def id(self) -> str:
        """``asyncpf/shadow/read-shared``, further axes as in its name."""
        return f"{self.test}/{self.mmu}/{self.name}"


def parse_cell(data: Mapping[str, Any]) -> Cell:
    """The inverse of ``asdict`` for a cell."""
    usual = tuple(data.get("usual", ()))
    return Cell(data["test"], Mmu(data["mmu"]), dict(data["variant"]), usual)
