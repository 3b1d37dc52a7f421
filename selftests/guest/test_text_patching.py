# SPDX-License-Identifier: GPL-2.0-or-later
"""The emulator keeps no translation of code that its guest has overwritten (emulators/qemu-7.2, patch 0005).

The kernel arms a trace event by way of a breakpoint in its text, and forgets the breakpoint once all CPUs
know the new code. A CPU that runs it after that panics L1 (``int3``). Without the patch, arming and disarming
less than 50 times was enough in each of 5 trials.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from guest.shell import begin
from guestloop.cache import Cache
from guestloop.config import load_argument
from guestloop.images import build_l2
from guestloop.job.subjects import find_subjects
from guestloop.kernels import Kernel
from guestloop.machines.host import Vendor
from guestloop.results.cells import Mmu
from guestloop.vm.argv import L2Spec, l2_argv
from guestloop.vm.l1 import Machine
from guestloop.vm.parts import L1Parts
from guestloop.vm.payload import build_payload

pytestmark = pytest.mark.guest

PACKAGE = "deb:linux-image-cloud-amd64"  # the kernels that guestloop builds have no jump labels
TIMES = 150

# The vCPUs of L2 run through these all the time.
ARM_AND_DISARM = f"""
from pathlib import Path
events = [Path("/sys/kernel/tracing/events/kvm", name, "enable") for name in ("kvm_entry", "kvm_exit")]
for _ in range({TIMES}):
    for event in events:
        event.write_text("1")
        event.write_text("0")
print("done")
"""


@pytest.fixture
def packaged() -> Kernel:
    cache = Cache()
    (subject,) = find_subjects((load_argument(PACKAGE),), Vendor.AMD.module, cache)
    return subject.obtain(cache)


@pytest.fixture
def machine(parts: L1Parts, packaged: Kernel, l2_kernel: Kernel, tmp_path: Path) -> Iterator[Machine]:
    cache = Cache()
    made = Machine(
        replace(
            parts,
            kernel=packaged.image,
            initramfs=packaged.initramfs,
            build_id=packaged.build_ids["vmlinux"],
            payload=build_payload(cache, packaged.modules, l2_kernel.image, build_l2(cache).initramfs),
        ),
        tmp_path,
    )
    yield made
    made.close()


def test_trace_events_are_armed_while_a_guest_runs(machine: Machine, packaged: Kernel) -> None:
    machine.agent.kvm.load("tdp", Mmu.TDP.parameters(Vendor.AMD.module))
    machine.agent.guests.start("l2", l2_argv(L2Spec(name="l2")))
    machine.agent.guests.command("l2", "load name=hot mib=16", "ready")
    machine.agent.guests.command("l2", "start laps=0", "running")
    said = begin(machine, f"/usr/bin/python3 -c '{ARM_AND_DISARM}'").read().decode()
    machine.end_of_round()  # raises how an L1 ended that did not survive
    assert said == "done\n"
