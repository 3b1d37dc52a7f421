"""What an L1 lacks, or what its OOM killer takes, is told as that; the L1 goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from guestloop.ground.errors import GuestError
from guestloop.kernels import Kernel
from guestloop.vm.argv import L2Spec, l2_argv
from guestloop.vm.l1 import L1Parts, Machine
from guestloop.workloads.measuring import CRASH

pytestmark = pytest.mark.guest

START_S = 60.0


@pytest.fixture(scope="module")
def machine(parts: L1Parts, kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    made = Machine(parts, tmp_path_factory.mktemp("lab"))
    made.call("kvm.load", {"vendor": "amd", "mmu": "tdp", "request": kernel.tlb_flush_request})
    yield made
    made.close()


def run(machine: Machine, command: str) -> None:
    """A shell command in L1."""
    _, output, _ = machine._link._client.exec_command(f"exec 2>&1; {command}")
    text = output.read().decode()
    assert output.channel.recv_exit_status() == 0, text


def start(machine: Machine, name: str) -> None:
    argv = l2_argv(L2Spec(name, memory_mib=96))
    machine.call("guests.start", {"name": name, "argv": argv, "timeout_s": START_S}, START_S)


def load(machine: Machine, name: str) -> None:
    line = {"line": "load name=write-shared mib=32", "until": "ready", "timeout_s": START_S}
    machine.call("guests.command", {"name": name, **line}, START_S)


def test_nothing_is_lacking(machine: Machine) -> None:
    everything = ["swap", "memcg", "page-idle", "mglru", "damon", "thp"]
    assert machine.call("aging.lacks", {"needs": everything}) == ""


def test_swap_that_is_off_is_lacking(machine: Machine) -> None:
    run(machine, "busybox swapoff -a")
    assert machine.call("aging.lacks", {"needs": ["memcg", "swap"]}) == "L1 has no swap space"


def test_an_l2_that_the_oom_killer_takes_is_no_finding(machine: Machine) -> None:
    """Without swap its memory has nowhere to go."""
    run(machine, "busybox swapoff -a; true")
    start(machine, "oom")
    run(machine, "echo 48M | busybox tee /sys/fs/cgroup/l2-oom.*/memory.max")
    with pytest.raises(GuestError, match="killed by signal 9") as raised:
        load(machine, "oom")
    assert not CRASH.search(str(raised.value))
    assert "oom" in machine.console.text()
    machine.call("guests.stop", {"name": "oom"})
    start(machine, "next")
    load(machine, "next")
    machine.call("guests.stop", {"name": "next"})
