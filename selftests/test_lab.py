"""The lab: L1s that are booted when they must be, and the socket by which tests reach them."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from guestloop.ground.errors import GuestError, LabError
from guestloop.ground.wait import wait_for
from guestloop.job import session
from guestloop.lab import client, server
from guestloop.lab.client import L1, Connection, connect
from guestloop.lab.server import Lab, Slot
from guestloop.lab.spec import OUT_VARIABLE, SOCKET_VARIABLE, LabSpec, parse_lab_spec
from guestloop.machines.host import Vendor
from guestloop.results.cells import Mmu
from guestloop.vm.argv import L2Spec, l2_argv
from guestloop.vm.console import Console
from guestloop.vm.parts import Keys, L1Parts


def parts(name: str) -> L1Parts:
    keys = Keys(Path("/keys/client"), "ssh-ed25519 AAAA")
    paths = Path("/k/vmlinux"), Path("/l1/root"), Path("/p/payload.tar")
    return L1Parts(name, Path("/q/qemu"), ("-accel", "tcg"), paths[0], "abcd", paths[1], paths[2], keys)


def make_spec(directory: Path, *kernels: str) -> LabSpec:
    return LabSpec(
        socket=f"guestloop-selftest-{secrets.token_hex(8)}",
        directory=directory,
        vendor=Vendor.AMD,
        parts={name: parts(name) for name in kernels},
        requests=dict.fromkeys(kernels, 256),
    )


class FakeMachine:
    """An L1 that needs no QEMU. ``fail`` is what the next boots raise, one each."""

    made: list[FakeMachine]
    fail: list[Exception]

    def __init__(self, parts: L1Parts, directory: Path) -> None:
        directory.mkdir(parents=True)
        if self.fail:
            raise self.fail.pop(0)
        self.made.append(self)
        self.alive, self.answers, self.calls = True, True, list[tuple[str, dict[str, Any]]]()
        self.boot_seconds, self.closed = 5.0, False
        self.hello = {"release": "6.12.117", "build_id": "abcd"}
        self.console = Console(directory / "console.log")
        self.console.path.write_text("[    0.1] booted\n")

    def check_alive(self) -> None:
        if not self.alive:
            raise GuestError("L1 patched: QEMU ended (killed by signal 9)")

    def call(self, method: str, params: dict[str, Any] | None = None, timeout_s: float = 60.0) -> Any:
        if not self.answers:
            raise GuestError("L1 patched: the link to the agent is lost")
        self.calls.append((method, params or {}))
        if method == "agent.refuse":
            raise GuestError("L1 patched: agent.refuse: no", traceback="in refuse", hint="ask again")
        hello = {"hello": "hello cpus=2 kvmapf=1", "seconds": 1.5}
        return {"guests.start": hello, "kvm.load": {"kvm.tdp_mmu": "N"}}.get(
            method, ["ready", "done n=4 odd"]
        )

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> list[FakeMachine]:
    monkeypatch.setattr(FakeMachine, "made", [], raising=False)
    monkeypatch.setattr(FakeMachine, "fail", [], raising=False)
    monkeypatch.setattr(server, "Machine", FakeMachine)
    return FakeMachine.made


@pytest.fixture
def slot(machines: list[FakeMachine], tmp_path: Path) -> Slot:
    return Slot(make_spec(tmp_path, "patched"), "patched")


def test_spec_survives_the_way_to_the_lab(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, "unpatched", "patched")
    assert "\n" not in spec.dump()
    assert parse_lab_spec(spec.dump()) == spec


# --- slots -----------------------------------------------------------------------------------------


def test_acquire_boots_once(slot: Slot, machines: list[FakeMachine], tmp_path: Path) -> None:
    first = slot.acquire()
    assert (first["boot"], first["vendor"], first["request"]) == (1, "amd", 256)
    assert first["console"] == str(tmp_path / "patched.1/console.log")
    assert slot.acquire()["boot"] == 1
    assert len(machines) == 1


def test_a_dead_l1_is_booted_again(slot: Slot, machines: list[FakeMachine]) -> None:
    slot.acquire()
    machines[0].alive = False
    assert slot.acquire()["boot"] == 2
    assert machines[0].closed and not machines[1].closed


def test_an_l1_that_does_not_answer_is_booted_again(slot: Slot, machines: list[FakeMachine]) -> None:
    slot.acquire()
    machines[0].answers = False
    assert slot.acquire()["boot"] == 2
    assert machines[0].closed


def test_guests_that_a_killed_test_left_are_ended(slot: Slot, machines: list[FakeMachine]) -> None:
    slot.acquire()
    slot.call("guests.start", {"name": "storm"}, 5)
    slot.acquire()
    assert [method for method, _ in machines[0].calls] == ["guests.start", "guests.stop_all"]


def test_fresh_boots_what_was_used_and_only_that(slot: Slot, machines: list[FakeMachine]) -> None:
    slot.acquire()
    assert slot.acquire(fresh=True)["boot"] == 1, "booted ahead and not used yet"
    slot.call("agent.any", {}, 5)
    assert slot.acquire()["boot"] == 1
    assert slot.acquire(fresh=True)["boot"] == 2
    assert machines[0].closed
    assert slot.acquire(fresh=True)["boot"] == 2


def test_after_two_failed_boots_it_is_not_tried_again(slot: Slot, machines: list[FakeMachine]) -> None:
    FakeMachine.fail.extend(GuestError(f"panic {number}") for number in (1, 2, 3))
    for message in ("panic 1", "panic 2", "panic 2"):
        with pytest.raises(GuestError, match=message):
            slot.acquire()
    assert len(FakeMachine.fail) == 1 and machines == []


def test_a_boot_that_works_forgives_the_failed_one(slot: Slot, machines: list[FakeMachine]) -> None:
    FakeMachine.fail.append(GuestError("panic 1"))
    with pytest.raises(GuestError):
        slot.acquire()
    assert slot.acquire()["boot"] == 2
    machines[0].alive = False
    FakeMachine.fail.append(GuestError("panic 2"))
    with pytest.raises(GuestError, match="panic 2"):
        slot.acquire()
    assert slot.acquire()["boot"] == 4


def test_call_never_boots(slot: Slot, machines: list[FakeMachine]) -> None:
    with pytest.raises(GuestError, match="L1 patched is not running"):
        slot.call("agent.hello", {}, 5)
    assert slot.warnings() == [] and machines == []


def test_boot_ahead_and_close(machines: list[FakeMachine], tmp_path: Path) -> None:
    lab = Lab(make_spec(tmp_path, "unpatched", "patched"))
    lab.boot_ahead()
    wait_for("both to boot", lambda: True if len(machines) == 2 else None, 5)
    lab.close()
    assert all(machine.closed for machine in machines)


# --- the socket ------------------------------------------------------------------------------------


@pytest.fixture
def name(machines: list[FakeMachine], tmp_path: Path) -> Iterator[str]:
    spec = make_spec(tmp_path, "patched")
    with server._Server(spec.socket, Lab(spec)) as lab:
        threading.Thread(target=lab.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield spec.socket
        lab.shutdown()


@pytest.fixture
def connection(name: str) -> Iterator[Connection]:
    connection = Connection(name)
    yield connection
    connection.close()


def test_l1_of_a_test(connection: Connection, machines: list[FakeMachine]) -> None:
    l1 = L1(connection, "patched")
    assert (l1.boot, l1.request) == (1, 256)
    l1.set_mmu(Mmu.SHADOW)
    wanted = {"kvm": {"tdp_mmu": "N"}, "kvm_amd": {"npt": "N"}}
    assert machines[0].calls == [("kvm.load", {"mmu": "shadow", "wanted": wanted, "request": 256})]
    assert l1.facts == {"release": "6.12.117", "vmlinux.build_id": "abcd", "kvm.tdp_mmu": "N"}


def test_l2_of_a_test_ends_with_the_body(connection: Connection, machines: list[FakeMachine]) -> None:
    l1, spec = L1(connection, "patched"), L2Spec("storm")
    with pytest.raises(KeyError), l1.guest(spec) as l2:
        assert (l2.hello, l2.start_seconds) == ({"cpus": "2", "kvmapf": "1"}, 1.5)
        assert l2.answer("start", "done", timeout_s=7) == {"n": "4"}
        raise KeyError
    (start, started), (_, command), stop = machines[0].calls
    assert start == "guests.start" and started["argv"] == l2_argv(spec)
    assert command == {"name": "storm", "line": "start", "until": "done", "timeout_s": 7}
    assert stop == ("guests.stop", {"name": "storm"})


def test_a_fault_comes_with_hint_and_traceback(connection: Connection) -> None:
    with pytest.raises(GuestError, match=r"agent\.refuse: no") as raised:
        L1(connection, "patched").call("agent.refuse")
    assert (raised.value.hint, raised.value.traceback) == ("ask again", "in refuse")
    with pytest.raises(GuestError, match="KeyError: 'other'"):
        L1(connection, "other")
    with pytest.raises(GuestError, match="unknown request 'dance'"):
        connection.request({"kernel": "patched", "op": "dance"}, 5)


def test_new_warnings_are_those_since_this_test_began(
    connection: Connection, machines: list[FakeMachine]
) -> None:
    L1(connection, "patched")
    console = machines[0].console.path
    console.write_text("WARNING: old\n")
    l1 = L1(connection, "patched")
    assert l1.new_warnings() == []
    console.write_text("WARNING: old\nall is well\n[  9.1] BUG: new\n")
    assert l1.new_warnings() == ["[  9.1] BUG: new"]


def test_one_test_at_a_time(name: str, connection: Connection) -> None:
    L1(connection, "patched")
    second, got = Connection(name), threading.Event()

    def measure() -> None:
        L1(second, "patched")
        got.set()

    thread = threading.Thread(target=measure, daemon=True)
    thread.start()
    assert not got.wait(0.2)
    connection.close()
    assert got.wait(5)
    second.close()


def test_no_lab_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SOCKET_VARIABLE, raising=False)
    with pytest.raises(LabError, match="no lab is running") as raised:
        connect()
    assert "scripts/run" in raised.value.hint
    monkeypatch.setattr(client, "wait_for", lambda what, probe, seconds: wait_for(what, probe, 0.1))
    with pytest.raises(LabError, match="the lab process to listen"):
        Connection("guestloop-selftest-nobody")


# --- the process -----------------------------------------------------------------------------------


def test_the_lab_process_lives_as_long_as_the_body(tmp_path: Path) -> None:
    with session.running_lab(make_spec(tmp_path / "lab"), tmp_path):
        assert os.environ[OUT_VARIABLE] == str(tmp_path)
        first = connect()
        with pytest.raises(GuestError, match="KeyError: 'patched'"):
            L1(first, "patched")
        spec_socket = os.environ[SOCKET_VARIABLE]
    assert SOCKET_VARIABLE not in os.environ and OUT_VARIABLE not in os.environ
    with pytest.raises(LabError, match=r"the lab process is gone|did not answer"):
        first.request({"kernel": "patched", "op": "warnings"}, 5)
    assert f"@{spec_socket}" not in Path("/proc/net/unix").read_text().replace("\0", "@")
    assert (tmp_path / "lab/lab.log").read_text() == ""


def test_a_lab_that_was_killed_is_missed(tmp_path: Path) -> None:
    with session.running_lab(make_spec(tmp_path / "lab"), tmp_path):
        first = connect()
        listener = first._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        os.kill(struct.unpack("3i", listener)[0], signal.SIGKILL)
        with pytest.raises(LabError, match=r"the lab process is gone|did not answer"):
            L1(first, "patched")


def test_a_lab_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = tmp_path / "stuck"
    stuck.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 60\n")
    stuck.chmod(0o755)
    monkeypatch.setattr(session, "LAB_END_S", 0.1)
    monkeypatch.setattr(session, "sys", SimpleNamespace(executable=str(stuck)))
    with session.running_lab(make_spec(tmp_path / "lab"), tmp_path):
        wait_for("the process", lambda: True if (tmp_path / "pid").exists() else None, 5)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
