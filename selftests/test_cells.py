# SPDX-License-Identifier: GPL-2.0-or-later
"""MMU modes as data: each has a meaning and the parameters of every module that it needs."""

from __future__ import annotations

import json
import pickle

import pytest

from guestloop.machines.host import Vendor
from guestloop.results.cells import MODES, Cell, Mmu, parse_cell


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


def test_every_mode_is_complete_and_unlike_the_others() -> None:
    for mode in Mmu:
        assert mode.meaning
        assert all(mode.parameters(vendor.module) for vendor in Vendor)
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


def test_results_use_the_first_name() -> None:
    assert Mmu("legacy-tdp") is Mmu.DIRECT
    cell = Cell("aging", Mmu("legacy-tdp"), {"driver": "mglru"})
    assert cell.id == "aging/direct/mglru"
    assert json.dumps(cell.mmu) == '"direct"'
    assert parse_cell({"test": "aging", "mmu": "direct", "variant": {"driver": "mglru"}}) == cell
    assert pickle.loads(pickle.dumps(cell)) == cell
