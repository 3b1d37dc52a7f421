# SPDX-License-Identifier: GPL-2.0-or-later
"""MMU modes as data: each has a meaning and the parameters of every module that it needs."""

from __future__ import annotations

import json
import pickle

import pytest

from guestloop.machines.host import Vendor
from guestloop.results.cells import MODES, Cell, Mmu, parse_cell
from guestloop.results.plan import Reach


@pytest.mark.parametrize(
    ("vendor", "mmu", "wanted"),
    [
        (Vendor.AMD, Mmu.TDP, {"kvm": {"tdp_mmu": "Y"}, "kvm_amd": {"npt": "Y"}}),
        (Vendor.AMD, Mmu.DIRECT, {"kvm": {"tdp_mmu": "N"}, "kvm_amd": {"npt": "Y"}}),
        (Vendor.AMD, Mmu.SHADOW, {"kvm": {"tdp_mmu": "N"}, "kvm_amd": {"npt": "N"}}),
        (Vendor.INTEL, Mmu.TDP, {"kvm": {"tdp_mmu": "Y"}, "kvm_intel": {"ept": "Y"}}),
        (Vendor.INTEL, Mmu.DIRECT, {"kvm": {"tdp_mmu": "N"}, "kvm_intel": {"ept": "Y"}}),
        (Vendor.INTEL, Mmu.SHADOW, {"kvm": {"tdp_mmu": "N"}, "kvm_intel": {"ept": "N"}}),
    ],
)
def test_parameters_of_a_mode(vendor: Vendor, mmu: Mmu, wanted: dict[str, dict[str, str]]) -> None:
    seen = mmu.parameters(vendor.module)
    assert seen == wanted
    assert list(seen) == list(wanted), "kvm is loaded before the module that needs it"


@pytest.mark.parametrize(
    ("mmu", "wanted"),
    [
        (Mmu.TDP_PML, {"kvm": {"tdp_mmu": "Y"}, "kvm_intel": {"ept": "Y", "eptad": "Y", "pml": "Y"}}),
        (Mmu.DIRECT_PML, {"kvm": {"tdp_mmu": "N"}, "kvm_intel": {"ept": "Y", "eptad": "Y", "pml": "Y"}}),
        (Mmu.TDP_NO_EPTAD, {"kvm": {"tdp_mmu": "Y"}, "kvm_intel": {"ept": "Y", "eptad": "N", "pml": "N"}}),
        (Mmu.DIRECT_NO_EPTAD, {"kvm": {"tdp_mmu": "N"}, "kvm_intel": {"ept": "Y", "eptad": "N", "pml": "N"}}),
    ],
)
def test_modes_of_some_hardware(mmu: Mmu, wanted: dict[str, dict[str, str]]) -> None:
    assert mmu.parameters("kvm_intel") == wanted
    assert mmu.lacks("kvm_intel") == ""
    assert mmu.lacks("kvm_amd") == f"{MODES[mmu].feature}: kvm_intel may have it, kvm_amd has not"
    assert not mmu.is_everywhere and mmu.code is Mmu(mmu.value.split("-")[0])
    with pytest.raises(KeyError, match="kvm_amd"):
        mmu.parameters("kvm_amd")


def test_every_mode_is_complete_and_unlike_the_others() -> None:
    for mode in Mmu:
        assert mode.meaning
        vendors = [vendor for vendor in Vendor if not mode.lacks(vendor.module)]
        assert vendors == list(Vendor) or not mode.is_everywhere
        assert vendors and all(mode.parameters(vendor.module) for vendor in vendors)
    names = [name for mode in Mmu for name in mode.names]
    assert len(set(names)) == len(names)
    parameters = [json.dumps(MODES[mode].parameters) for mode in Mmu]
    assert len(set(parameters)) == len(parameters)


def test_an_unknown_mode_is_an_error() -> None:
    with pytest.raises(ValueError, match="'dirct' is not a valid Mmu"):
        Mmu("dirct")


def test_a_module_that_no_mode_knows_is_an_error() -> None:
    with pytest.raises(KeyError, match="kvm_via"):
        Mmu.TDP.parameters("kvm_via")
    assert Mmu.TDP_PML.lacks("kvm_via") == "", "which is not to be taken for a vendor that has none"


def test_a_series_reaches_a_mode_of_some_hardware_as_the_one_whose_code_it_runs() -> None:
    reach = Reach((Mmu.DIRECT, Mmu.SHADOW), "because")
    assert [mode for mode in Mmu if reach.covers(mode)] == [
        *(Mmu.DIRECT, Mmu.SHADOW, Mmu.DIRECT_PML, Mmu.DIRECT_NO_EPTAD),
    ]
    assert Reach((Mmu.DIRECT_PML,)).covers(Mmu.DIRECT_PML)
    assert not Reach((Mmu.DIRECT_PML,)).covers(Mmu.DIRECT)


def test_results_use_the_first_name() -> None:
    assert Mmu("legacy-tdp") is Mmu.DIRECT
    cell = Cell("aging", Mmu("legacy-tdp"), {"driver": "mglru"})
    assert cell.id == "aging/direct/mglru"
    assert json.dumps(cell.mmu) == '"direct"'
    assert parse_cell({"test": "aging", "mmu": "direct", "variant": {"driver": "mglru"}}) == cell
    assert pickle.loads(pickle.dumps(cell)) == cell
