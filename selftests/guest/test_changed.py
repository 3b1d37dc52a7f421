# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes on functions of KVM, while it is loaded, exchanged and used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from guest.shell import begin
from guestloop.agent.changed import Watched
from guestloop.machines.host import Vendor
from guestloop.results.cells import Mmu
from guestloop.vm.argv import L2Spec, l2_argv
from guestloop.vm.l1 import Machine
from guestloop.vm.parts import L1Parts

pytestmark = pytest.mark.guest

AT_LOAD = "kvm:kvm_x86_vendor_init"  # which the vendor module calls when it is loaded
BY_GUESTS = "kvm:kvm_mmu_page_fault"
NEVER = "kvm:kvm_arch_irq_bypass_add_producer"  # there is no device to be assigned
OF_KERNEL = "vmlinux:__vm_munmap"
NOINSTR = "kvm_amd:svm_vcpu_enter_exit"  # no probe may be put there
ABSENT = "kvm:there_is_no_such_function"
OF_INTEL = "kvm_intel:vmx_vcpu_run"
ALL = (AT_LOAD, BY_GUESTS, NEVER, OF_KERNEL, NOINSTR, ABSENT, OF_INTEL)


@pytest.fixture
def machine(parts: L1Parts, tmp_path: Path) -> Iterator[Machine]:
    made = Machine(parts, tmp_path)
    yield made
    made.close()


def test_what_runs_is_counted_from_the_load_of_kvm_on(machine: Machine) -> None:
    agent = machine.agent

    def load(mmu: Mmu) -> None:
        agent.kvm.load(mmu.value, mmu.parameters(Vendor.AMD.module))

    load(Mmu.TDP)
    agent.kvm.watch(tuple(Watched(name, (name.removeprefix("vmlinux:"),)) for name in ALL))
    for mmu in (Mmu.TDP, Mmu.SHADOW):
        load(mmu)
        before = agent.changed.read()
        assert before.counts[AT_LOAD] == 1 and before.counts[BY_GUESTS] == 0, mmu
        agent.guests.start("l2", l2_argv(L2Spec(name="l2")))
        agent.guests.stop("l2")
        after = agent.changed.read()
        assert after.unprobed.keys() == {NOINSTR, ABSENT}
        assert after.counts[AT_LOAD] == 1 and after.counts[BY_GUESTS] > 0, mmu
        assert (after.counts[NEVER], after.counts[OF_INTEL]) == (0, 0)
    agent.kvm.watch(())
    load(Mmu.SHADOW)
    probes = begin(machine, "cat /sys/kernel/tracing/kprobe_events").read().decode()
    assert "guestloop/request" in probes and "changed" not in probes
    machine.end_of_round()
    assert machine.console.warnings() == []
