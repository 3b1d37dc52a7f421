# SPDX-License-Identifier: GPL-2.0-or-later
"""What several selftests of the lab share: an L1 that needs no QEMU, and a lab that is made of it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from samples import DIGESTS, L2_KERNEL

from guestloop.agent.services import Agent
from guestloop.agent.system import Hello
from guestloop.ground.errors import GuestloopError
from guestloop.ground.rpc import client
from guestloop.lab import slot
from guestloop.lab.spec import LabSpec
from guestloop.machines.host import Vendor
from guestloop.vm.console import Console
from guestloop.vm.parts import Keys, L1Parts

HELLO = Hello(release="6.12.117", build_id="abcd", cpus=2, uptime_s=5.0)
ANSWERS: dict[str, Any] = {
    "guests.start": {
        "hello": f"hello cpus=2 kvmapf=1 build_id={L2_KERNEL.build_id}",
        "seconds": 1.5,
        "pid": 7,
        "attempts": 1,
    },
    "guests.command": ["ready", "done n=4 odd"],
    "guests.listen": ["progress reads=3"],
    "guests.finish_lap": ["stopped reads=9 writes=4 bad=0"],
    "guests.qmp": {"status": "running"},
    "guests.counters": {"exits": 5},
    "guests.page_out": {"left_bytes": 4096, "seconds": 0.5},
    "guests.stop": "  console.log | bye",
    "guests.stop_all": [],
    "guests.launch": None,
    "kvm.load": {"kvm.tdp_mmu": "N"},
    "kvm.watch": None,
    "changed.read": {"counts": {"kvm:mmu_spte_update": 3}, "unprobed": {}, "disturbing": 0},
    "kvm.functions": ["kvm_mmu_notifier_clear_flush_young", "kvm_arch_async_page_ready"],
    "system.rearm_warnings": True,
}


def make_parts(name: str) -> L1Parts:
    keys = Keys(Path("/keys/client"), "ssh-ed25519 AAAA")
    paths = Path("/k/vmlinux"), Path("/l1/root"), Path("/p/payload.tar")
    return L1Parts(name, Path("/q/qemu"), ("-accel", "tcg"), (), paths[0], "abcd", paths[1], paths[2], keys)


def make_spec(directory: Path, *kernels: str) -> LabSpec:
    return LabSpec(
        socket=f"guestloop-selftest-{secrets.token_hex(8)}",
        directory=directory,
        vendor=Vendor.AMD,
        parts={name: make_parts(name) for name in kernels},
        requests=dict.fromkeys(kernels, 256),
        l2_kernel=L2_KERNEL,
        digests=DIGESTS,
    )


class FakeMachine:
    """An L1. ``fail`` is what the next boots raise, one each.

    ``end`` is how it ended, ``ends_at`` has how it ends when a method is called; ``fails`` has what a method
    raises, ``fault`` what each of them raises, ``last_words`` what its kernel prints while a round ends.
    """

    made: list[FakeMachine]
    fail: list[Exception]

    def __init__(self, parts: L1Parts, directory: Path) -> None:
        directory.mkdir(parents=True)
        if self.fail:
            raise self.fail.pop(0)
        self.made.append(self)
        self.end: GuestloopError | None = None
        self.ends_at: dict[str, GuestloopError] = {}
        self.fails: dict[str, GuestloopError] = {}
        self.fault: GuestloopError | None = None
        self.last_words = ""
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.throttled: list[int] = []
        self.paces: list[tuple[float, float]] = []
        self.boot_seconds, self.closed, self.rounds = 5.0, False, 0
        self.hello = HELLO
        self.process = SimpleNamespace(pid=2**22 + len(self.made))
        self.console = Console(directory / "console.log")
        self.console.path.write_text("[    0.1] booted\n")
        self.agent = client(Agent, self.call)

    def says(self, line: str) -> None:
        """The kernel prints a line."""
        with self.console.path.open("a") as console:
            console.write(f"{line}\n")

    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]

    def check_alive(self) -> None:
        if self.end:
            raise self.end

    def call(self, method: str, params: Mapping[str, Any], timeout_s: float) -> Any:
        self.end = self.ends_at.get(method, self.end)
        self.check_alive()
        if error := self.fault or self.fails.get(method):
            raise error
        self.calls.append((method, params))
        return ANSWERS[method]

    def end_of_round(self) -> None:
        self.rounds += 1
        if self.last_words:
            self.says(self.last_words)
        self.check_alive()
        if self.fault:
            raise self.fault

    def throttle_swap(self, reads_per_second: int) -> None:
        self.check_alive()
        self.throttled.append(reads_per_second)

    def set_pace(self, pace: float, slowdown: float) -> None:
        if self.fault:
            raise self.fault
        self.paces.append((pace, slowdown))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> list[FakeMachine]:
    """The L1s that were booted, in order."""
    monkeypatch.setattr(FakeMachine, "made", [], raising=False)
    monkeypatch.setattr(FakeMachine, "fail", [], raising=False)
    monkeypatch.setattr(slot, "Machine", FakeMachine)
    return FakeMachine.made
