# SPDX-License-Identifier: GPL-2.0-or-later
"""One real L1 under TCG, driven directly: boot, MMU modes, a panic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from guest.shell import begin
from guestloop.ground.errors import GuestError, L1Panicked, L1Rebooted, LabError
from guestloop.kernels import Kernel
from guestloop.machines.host import Vendor
from guestloop.results.cells import Mmu
from guestloop.vm.l1 import Machine
from guestloop.vm.parts import L1Parts

pytestmark = pytest.mark.guest


@pytest.fixture
def machine(parts: L1Parts, tmp_path: Path) -> Iterator[Machine]:
    made = Machine(parts, tmp_path)
    yield made
    made.close()
    assert made.process.poll() is not None


def test_boots_the_kernel_that_was_built(machine: Machine, kernel: Kernel) -> None:
    assert machine.hello.release == kernel.release
    assert machine.hello.cpus == 2
    # The figure is 8 s on an idle machine; this only catches a boot that has become something else.
    assert machine.boot_seconds < 30


def test_mmu_modes_are_read_back(machine: Machine, kernel: Kernel) -> None:
    wanted = {"tdp": ("Y", "Y"), "direct": ("N", "Y"), "shadow": ("N", "N")}
    for mmu, values in wanted.items():
        parameters = Mmu(mmu).parameters(Vendor.AMD.module)
        facts = machine.agent.kvm.load(mmu, parameters)
        assert (facts["kvm.tdp_mmu"], facts["kvm_amd.npt"]) == values
        assert facts["kvm.build_id"] == kernel.build_ids["kvm"]
    assert set(machine.agent.trace.read()) >= {"request", "kvm_async_pf_ready", "kvm_age_hva"}


def test_an_agent_error_carries_its_traceback(machine: Machine) -> None:
    with pytest.raises(GuestError, match="no L2 is called 'nobody'") as raised:
        machine.agent.guests.counters("nobody")
    assert "Traceback" in raised.value.traceback


def test_the_end_of_a_round_shows_a_warning_that_came_just_before(machine: Machine) -> None:
    """And a WARN_ONCE that warned in an earlier round warns again in the next."""
    assert machine.agent.system.rearm_warnings()
    machine.agent.system.write_console("WARNING: a selftest")
    machine.end_of_round()
    assert [line for line in machine.console.warnings() if "a selftest" in line]


def test_a_panic_is_reported_as_one(machine: Machine) -> None:
    begin(machine, "echo c > /proc/sysrq-trigger")
    with pytest.raises(L1Panicked, match=r"L1 selftest panicked: .*(Oops|panic)"):
        for _ in range(100):
            machine.agent.system.hello()


def test_a_reset_is_reported_as_one(machine: Machine) -> None:
    begin(machine, "echo b > /proc/sysrq-trigger")
    with pytest.raises(L1Rebooted, match="L1 selftest reset itself"):
        for _ in range(100):
            machine.agent.system.hello()


def test_another_kernel_than_was_built_is_refused(parts: L1Parts, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="another kernel than was built"):
        Machine(replace(parts, build_id="0" * 40), tmp_path)
