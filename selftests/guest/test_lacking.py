# SPDX-License-Identifier: GPL-2.0-or-later
"""What an L1 lacks, or what its OOM killer takes, is reported as that; the L1 goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from guest.shell import run
from guestloop.agent.memory import Need
from guestloop.ground.errors import GuestKilled
from guestloop.kernels import Kernel
from guestloop.machines.host import Vendor
from guestloop.results.cells import Mmu
from guestloop.vm.argv import L2Spec, l2_argv
from guestloop.vm.l1 import Machine
from guestloop.vm.parts import L1Parts

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def machine(parts: L1Parts, kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    made = Machine(parts, tmp_path_factory.mktemp("lab"))
    made.agent.kvm.load("tdp", Mmu.TDP.parameters(Vendor.AMD.module))
    yield made
    made.close()


def start(machine: Machine, name: str) -> None:
    machine.agent.guests.start(name, l2_argv(L2Spec(name, memory_mib=96)))


def load(machine: Machine, name: str) -> None:
    machine.agent.guests.command(name, "load name=write-shared mib=32", "ready")


def test_nothing_is_lacking(machine: Machine) -> None:
    agent = machine.agent
    assert agent.memory.lacks(list(Need)) == ""
    assert [agent.page_idle.lacks(), agent.mglru.lacks(), agent.damon.lacks()] == ["", "", ""]


def test_swap_that_is_off_is_lacking(machine: Machine) -> None:
    run(machine, "busybox swapoff -a")
    lacking = machine.agent.memory.lacks([Need.MEMCG, Need.SWAP])
    assert lacking == "L1 uses no swap space (/proc/swaps is empty)"


def test_an_l2_that_the_oom_killer_takes_is_no_finding(machine: Machine) -> None:
    """Without swap its memory has nowhere to go. The kind says that the guest did not crash by itself."""
    run(machine, "busybox swapoff -a; true")
    start(machine, "oom")
    run(machine, "echo 48M | busybox tee /sys/fs/cgroup/l2-oom.*/memory.max")
    with pytest.raises(GuestKilled, match="killed by signal 9"):
        load(machine, "oom")
    assert "oom" in machine.console.text()
    with pytest.raises(GuestKilled, match="it had ended before it was stopped; QEMU: killed by signal 9"):
        machine.agent.guests.stop("oom")
    start(machine, "next")
    load(machine, "next")
    machine.agent.guests.stop("next")
