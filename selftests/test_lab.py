# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab process and the socket by which tests reach it."""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_l1 import ANSWERS, FakeMachine, machines, make_spec
from samples import DIGESTS, L2_KERNEL

from guestloop.agent.memory import PageOut
from guestloop.ground import rpc, threads
from guestloop.ground.errors import (
    GuestCrashed,
    GuestError,
    GuestKilled,
    GuestStuck,
    InternalError,
    L1Panicked,
    LabError,
    LinkLost,
    TimedOut,
)
from guestloop.ground.usage import total
from guestloop.ground.wait import clock, wait_for
from guestloop.job import session
from guestloop.lab import client, server
from guestloop.lab.client import L1, Connection, connect, render_request
from guestloop.lab.slot import Slot
from guestloop.lab.spec import OUT_VARIABLE, SOCKET_VARIABLE, LabSpec, parse_lab_spec
from guestloop.results.cells import Mmu
from guestloop.results.late import LATE_FILE
from guestloop.results.records import L2_BUILD_ID
from guestloop.results.sizes import USUAL
from guestloop.vm.argv import Incoming, L2Spec, l2_argv

__all__ = ["machines"]  # a fixture


def slots_of(spec: LabSpec) -> dict[str, Slot]:
    return {kernel: Slot(spec, kernel) for kernel in spec.parts}


def test_spec_survives_the_way_to_the_lab(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, "unpatched", "patched")
    assert "\n" not in spec.dump()
    assert parse_lab_spec(spec.dump()) == spec


# --- what a test can ask of it ---------------------------------------------------------------------


@pytest.fixture
def name(machines: list[FakeMachine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The socket of a lab that is served in this process."""
    monkeypatch.setattr(threads, "_kept", [])
    spec = make_spec(tmp_path, "patched")
    with server._Server(spec.socket, slots_of(spec)) as lab:
        threading.Thread(target=lab.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()
        yield spec.socket
        lab.shutdown()


@pytest.fixture
def connection(name: str) -> Iterator[Connection]:
    connection = Connection(name)
    yield connection
    connection.close()


def test_l1_of_a_test(connection: Connection, machines: list[FakeMachine], tmp_path: Path) -> None:
    l1 = L1(connection, "patched")
    assert (l1.boot, l1.request, l1.console) == (1, 256, tmp_path / "patched.1/console.log")
    l1.set_mmu(Mmu.SHADOW)
    parameters = {"kvm": {"tdp_mmu": "N"}, "kvm_amd": {"npt": "N"}}
    loaded = ("kvm.load", {"mmu": "shadow", "parameters": parameters})
    assert machines[0].calls[-2] == loaded
    assert {"change_pte", "dirty_log"} <= set(l1.absent_paths), "it has none of their functions"
    assert not {"clear_flush_young", "async_page_ready"} & set(l1.absent_paths)
    own = {"release": "6.12.117", "vmlinux.build_id": "abcd", "kvm.tdp_mmu": "N"}
    digests = {"sha256.qemu": DIGESTS["qemu"], "sha256.agent": DIGESTS["agent"]}
    assert l1.facts == own | digests | L2_KERNEL.facts | dict(USUAL.facts)
    l1.throttle_swap(250)
    l1.throttle_swap(0)
    assert machines[0].throttled == [250, 0]
    assert L1(connection, "patched", fresh=True).boot == 2


def test_what_the_qemu_of_an_l1_has_used(connection: Connection, machines: list[FakeMachine]) -> None:
    l1 = L1(connection, "patched")
    assert l1.usage() == {}, "it has ended"
    machines[0].process.pid = os.getpid()
    seen = l1.usage()
    assert os.getpid() in seen and total(seen).ran_s > 0


def test_a_round_ends_with_what_its_kernel_complained_of(
    connection: Connection, machines: list[FakeMachine]
) -> None:
    l1 = L1(connection, "patched")
    machines[0].last_words = "[ 9.1] BUG: Bad page state"
    assert l1.conclude() == ["[ 9.1] BUG: Bad page state"]
    machines[0].end = L1Panicked("L1 patched panicked: Oops")
    with pytest.raises(L1Panicked, match=r"^L1 patched panicked: Oops$"):
        l1.conclude()


def test_l2_of_a_test_ends_with_the_body(connection: Connection, machines: list[FakeMachine]) -> None:
    l1, spec = L1(connection, "patched"), L2Spec("storm")
    machines[0].calls.clear()
    with pytest.raises(KeyError), l1.guest(spec) as l2:
        hello = {"cpus": "2", "kvmapf": "1", "build_id": L2_KERNEL.build_id}
        assert (l2.hello, l2.start_seconds) == (hello, 1.5)
        assert l2.answer("start", "done", timeout_s=7) == {"n": "4"}
        raise KeyError
    assert machines[0].calls == [
        ("guests.start", {"name": "storm", "argv": l2_argv(spec), "incoming": False}),
        ("guests.command", {"name": "storm", "line": "start", "until": "done", "timeout_s": 7}),
        ("guests.stop", {"name": "storm"}),
    ]


@pytest.mark.parametrize(
    ("raised", "reported"),
    [
        (GuestError("process_madvise(MADV_PAGEOUT): No such process"), GuestCrashed),
        (TimedOut("waited 60 s"), GuestCrashed),
        (GuestKilled("killed by signal 9"), GuestKilled),
        (KeyError("a fault of the test"), KeyError),
    ],
)
def test_what_fails_because_the_guest_is_gone_is_reported_as_its_end(
    connection: Connection, machines: list[FakeMachine], raised: Exception, reported: type[Exception]
) -> None:
    l1 = L1(connection, "patched")
    with pytest.raises(reported) as seen, l1.guest(L2Spec("storm")):
        machines[0].fails["guests.stop"] = GuestCrashed("L2 storm: the guest panicked")
        raise raised
    assert (seen.value is raised) is (type(raised) is reported)


def test_a_guest_that_crashed_after_the_last_check_is_reported(
    connection: Connection, machines: list[FakeMachine]
) -> None:
    l1 = L1(connection, "patched")
    with pytest.raises(GuestCrashed), l1.guest(L2Spec("storm")):
        machines[0].fails["guests.stop"] = GuestCrashed("L2 storm: the guest panicked")


@pytest.mark.parametrize(
    ("said", "seen"), [("build_id=0badf00d", "0badf00d"), ("build_id=", "none"), ("", "none")]
)
def test_an_l2_with_another_kernel_is_refused_and_ended(
    connection: Connection,
    machines: list[FakeMachine],
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    seen: str,
) -> None:
    started = ANSWERS["guests.start"] | {"hello": f"hello kvmapf=1 {said}"}
    monkeypatch.setitem(ANSWERS, "guests.start", started)
    l1 = L1(connection, "patched")
    wanted = (
        rf"^L2 a runs another kernel than was built for it: build id {seen}, wanted {L2_KERNEL.build_id}$"
    )
    with pytest.raises(LabError, match=wanted), l1.guest(L2Spec("a")):
        pytest.fail("nothing may be measured in it")
    assert machines[0].methods()[-1] == "guests.stop"
    assert L2_BUILD_ID not in l1.facts


def test_what_kernel_l2_runs_is_a_fact_once_it_was_read_back(
    connection: Connection, machines: list[FakeMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    l1 = L1(connection, "patched")
    assert l1.facts["l2.config_sha256"] == L2_KERNEL.config_sha256
    with monkeypatch.context() as awaiting:
        awaiting.setitem(ANSWERS, "guests.start", ANSWERS["guests.start"] | {"hello": ""})
        with l1.guest(L2Spec("b", incoming=Incoming.REST)):
            assert L2_BUILD_ID not in l1.facts, "no payload has said so yet"
    with l1.guest(L2Spec("a")):
        assert l1.facts[L2_BUILD_ID] == L2_KERNEL.build_id


def test_everything_that_a_test_does_with_an_l2(connection: Connection, machines: list[FakeMachine]) -> None:
    l1, spec = L1(connection, "patched"), L2Spec("storm", incoming=Incoming.REST)
    l1.launch(spec)
    machines[0].calls.clear()
    with l1.guest(spec) as l2:
        assert l2.command("load", "done") == ["ready", "done n=4 odd"]
        assert l2.listen_for("progress") == {"reads": "3"}
        assert l2.finish_lap() == {"reads": "9", "writes": "4", "bad": "0"}
        assert l2.qmp("migrate", some_name=1) == {"status": "running"}
        assert l2.counters() == {"exits": 5}
        assert l2.page_out(20.0, pressure=True) == PageOut(4096, 0.5)
    seen = dict(machines[0].calls)
    assert seen["guests.start"]["incoming"] is True, "it has no payload yet that could say hello"
    assert seen["guests.qmp"] == {"name": "storm", "command": "migrate", "arguments": {"some_name": 1}}
    wanted = {"name": "storm", "ram_mib": spec.memory_mib, "timeout_s": 20.0, "pressure": True}
    assert seen["guests.page_out"] == wanted


def test_an_error_of_the_agent_arrives_as_what_it_was(
    connection: Connection, machines: list[FakeMachine]
) -> None:
    l1 = L1(connection, "patched")
    fault = GuestStuck("L2 storm does not answer", hint="ask again", traceback="in until")
    machines[0].fault = fault
    with pytest.raises(GuestStuck, match=r"^L2 storm does not answer$") as raised:
        l1.agent.guests.finish_lap("storm")
    assert (raised.value.hint, raised.value.traceback) == ("ask again", "in until")


def test_a_kernel_that_this_lab_does_not_have(connection: Connection) -> None:
    with pytest.raises(LabError, match=r"^this lab has no kernel 'other'; it has patched$"):
        L1(connection, "other")


def test_a_thread_of_the_lab_that_died_is_a_fault_of_the_round(
    connection: Connection, machines: list[FakeMachine]
) -> None:
    l1 = L1(connection, "patched")
    machines[0].says("WARNING: in the same round")
    threads.keep("thread pace", KeyError("cpus"))
    with pytest.raises(InternalError, match=r"^thread pace of the lab process failed: KeyError: 'cpus'$"):
        l1.conclude()
    assert l1.conclude() == ["WARNING: in the same round"], "and once only"
    threads.keep("thread pace", KeyError("cpus"))
    machines[0].end = L1Panicked("L1 patched panicked: Oops")
    with pytest.raises(L1Panicked):
        l1.conclude()


def test_one_test_at_a_time(name: str, connection: Connection) -> None:
    L1(connection, "patched")
    second, got = Connection(name), threading.Event()

    def measure() -> None:
        L1(second, "patched")
        got.set()

    thread = threading.Thread(target=measure, daemon=True)
    thread.start()
    assert not got.wait(0.1)
    connection.close()
    assert got.wait(5)
    second.close()


def test_nobody_else_is_served(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket in the abstract namespace has no permissions of its own."""
    monkeypatch.setattr(server, "_peer_uid", lambda _connection: os.getuid() + 1)
    stranger = Connection(name)
    with pytest.raises(LinkLost):
        L1(stranger, "patched")


@pytest.mark.parametrize(
    ("method", "params", "wanted"),
    [
        ("lab.acquire", {"kernel": "patched"}, "patched lab.acquire"),
        ("lab.pace", {}, "lab.pace"),
        (
            "lab.call",
            {"kernel": "a", "method": "guests.command", "params": {"name": "l2", "line": "stop"}},
            "a guests.command l2 stop",
        ),
    ],
)
def test_a_request_in_short(method: str, params: Mapping[str, Any], wanted: str) -> None:
    assert render_request(method, params) == wanted


# --- pace ------------------------------------------------------------------------------------------


class Lab:
    """A lab in another process, whose pace is set here. Its first answer may keep one waiting."""

    def __init__(self) -> None:
        self.pace, self.asked = 1.0, 0
        self.gate = threading.Event()
        self.gate.set()

    def call(
        self,
        method: str,
        _params: Mapping[str, Any],
        _timeout_s: float,
        look: Callable[[], None] = rpc.nothing_to_see,
    ) -> Any:
        if method == "lab.pace":
            self.asked += 1
            return self.pace
        while not self.gate.wait(0.001):
            look()
        return ["warning"]


@pytest.fixture
def lab(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    lab = Lab()
    monkeypatch.setattr(connection, "_caller", lab)
    monkeypatch.setattr(client, "PACE_S", 0.0)
    yield lab
    clock.pace = 1.0


def test_a_test_takes_over_the_pace_of_the_lab(connection: Connection, lab: Lab) -> None:
    """Else its own deadlines would end before those of the lab and of the agent."""
    lab.pace = 4.0
    connection.lab.conclude("patched")
    assert (clock.pace, lab.asked) == (1.0, 0), "before its turn nobody would answer"
    connection.lab.conclude("patched")
    assert clock.pace == 4.0


def test_the_pace_is_kept_while_an_answer_is_awaited(connection: Connection, lab: Lab) -> None:
    connection.lab.conclude("patched")
    lab.gate.clear()
    thread = threading.Thread(target=connection.lab.conclude, args=("patched",), daemon=True)
    thread.start()
    for lab.pace in (3.0, 5.0):
        wait_for(f"a pace of {lab.pace}", lambda: clock.pace == lab.pace or None, 5, interval=0.001)
    lab.gate.set()
    thread.join(5)


def test_the_pace_is_not_asked_for_with_every_call(
    connection: Connection, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PACE_S", 60.0)
    for _ in range(5):
        connection.lab.conclude("patched")
    assert lab.asked == 1


def test_the_lab_says_its_pace(connection: Connection) -> None:
    clock.pace = 2.5
    try:
        assert connection.lab.pace() == 2.5
    finally:
        clock.pace = 1.0


def test_the_pace_is_measured_on_the_l1s_that_run_and_told_to_their_agents(
    machines: list[FakeMachine], tmp_path: Path
) -> None:
    spec = make_spec(tmp_path, "unpatched", "patched")
    slots = slots_of(spec)
    pace = server.make_pace(slots)
    assert list(pace._pids()) == [] and pace.speed == 1.0
    slots["patched"].acquire()
    slots["patched"].boot_speed = 2.0
    assert list(pace._pids()) == [machines[0].process.pid] and pace.speed == 2.0
    slots["unpatched"].acquire()
    machines[0].fault = TimedOut("hangs")
    pace._tell(3.0, 2.0)
    assert [machine.paces for machine in machines] == [[], [(3.0, 2.0)]], (
        "one that hangs keeps nobody waiting"
    )
    assert list(server.make_pace({})._pids()) == []


# --- the process -----------------------------------------------------------------------------------


def test_late_complaints_are_kept_in_the_directory_of_the_lab(
    machines: list[FakeMachine], tmp_path: Path
) -> None:
    spec = make_spec(tmp_path, "unpatched", "patched")
    slots = slots_of(spec)
    for slot in slots.values():
        slot.acquire()
    server.close(slots, spec)
    assert not (tmp_path / LATE_FILE).exists() and all(machine.closed for machine in machines)
    slots = slots_of(make_spec(tmp_path / "again", "unpatched", "patched"))
    for slot in slots.values():
        slot.acquire()
    machines[3].says("[ 99.0] WARNING: late")
    server.close(slots, spec)
    assert json.loads((tmp_path / LATE_FILE).read_text()) == {"patched": ["[ 99.0] WARNING: late"]}


def test_the_lab_lives_as_long_as_its_stdin(
    machines: list[FakeMachine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``main`` in this process: it boots ahead, serves, and ends its L1s."""
    spec = make_spec(tmp_path, "patched")
    seen: list[int] = []

    class Stdin(io.StringIO):
        def read(self, _size: int | None = -1) -> str:
            wait_for("the boot", lambda: machines or None, 5, interval=0.005)
            connection = Connection(spec.socket)
            seen.append(L1(connection, "patched").boot)
            connection.close()
            return ""

    handled: list[signal.Signals] = []
    monkeypatch.setattr(signal, "signal", lambda number, _handler: handled.append(number))
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "stdin", Stdin(spec.dump() + "\n"))
    server.main()
    assert seen == [1] and machines[0].closed
    assert not [thread for thread in threading.enumerate() if thread.name == "serve"]
    assert handled == [signal.SIGINT, signal.SIGTERM]
    assert threading.excepthook is not threading.__excepthook__


def test_no_lab_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SOCKET_VARIABLE, raising=False)
    with pytest.raises(LabError, match="no lab is running") as raised:
        connect()
    assert "scripts/run" in raised.value.hint
    monkeypatch.setattr(client, "wait_for", lambda what, probe, _seconds: wait_for(what, probe, 0.05))
    with pytest.raises(TimedOut, match="for the lab process to listen"):
        Connection(f"guestloop-selftest-{secrets.token_hex(8)}")


def test_the_lab_process_lives_as_long_as_the_body(tmp_path: Path) -> None:
    with session.running_lab(make_spec(tmp_path / "lab"), tmp_path):
        assert os.environ[OUT_VARIABLE] == str(tmp_path)
        first = connect()
        with pytest.raises(LabError, match="this lab has no kernel 'patched'"):
            L1(first, "patched")
        spec_socket = os.environ[SOCKET_VARIABLE]
    assert SOCKET_VARIABLE not in os.environ and OUT_VARIABLE not in os.environ
    with pytest.raises(LinkLost, match=r"^the lab process: the connection (is|was) lost"):
        first.lab.conclude("patched")
    assert f"@{spec_socket}" not in Path("/proc/net/unix").read_text().replace("\0", "@")
    assert (tmp_path / "lab/lab.log").read_text() == ""


def test_a_lab_that_was_killed_is_missed(tmp_path: Path) -> None:
    with session.running_lab(make_spec(tmp_path / "lab"), tmp_path):
        first = connect()
        listener = first._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        os.kill(struct.unpack("3i", listener)[0], signal.SIGKILL)
        with pytest.raises(LinkLost, match=r"^the lab process: the connection (is|was) lost"):
            L1(first, "patched")


def test_a_lab_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = tmp_path / "stuck"
    stuck.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 60\n")
    stuck.chmod(0o755)
    monkeypatch.setattr(session, "LAB_END_S", 0.1)
    monkeypatch.setattr(session, "python", lambda _module: [str(stuck)])
    with session.running_lab(make_spec(tmp_path / "lab"), tmp_path):
        wait_for("the process", lambda: True if (tmp_path / "pid").exists() else None, 5)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
