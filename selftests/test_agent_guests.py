"""Calls to the agent over a real socket, and L2 guests with a stand-in for QEMU."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_proc import wait_until_gone

from guestloop.agent import guests
from guestloop.agent.guests import Guests
from guestloop.ground.errors import GuestError, LabError, TimedOut
from guestloop.ground.rpc import Methods, Server

# --- calls -----------------------------------------------------------------------------------------


class Service:
    """Methods of a served object."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def add(self, a: int, b: int = 1) -> int:
        return a + b

    def refuse(self) -> None:
        raise ValueError("no room for that")

    def secret(self) -> object:
        return object()

    def wait(self) -> bool:
        return self.gate.wait(10)

    def open(self) -> None:
        self.gate.set()


class Caller:
    """A client that sends lines and reads answers in the order they come."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._lines = self._socket.makefile("rb")

    def send(self, method: str, identity: int = 1, **params: Any) -> None:
        self.send_raw(json.dumps({"id": identity, "method": method, "params": params}).encode())

    def send_raw(self, line: bytes) -> None:
        self._socket.sendall(line + b"\n")

    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._lines.readline())
        return answer

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self.send(method, **params)
        return self.answer()

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


@pytest.fixture
def port() -> Iterator[int]:
    service, methods = Service(), Methods()
    methods.add("service", service.add, service.refuse, service.secret, service.wait, service.open)
    with Server(0, methods) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def caller(port: int) -> Iterator[Caller]:
    caller = Caller(port)
    yield caller
    caller.close()


def test_call_and_result(caller: Caller) -> None:
    assert caller.call("service.add", a=2) == {"id": 1, "result": 3}
    caller.send("service.add", 77, a=2, b=3)
    assert caller.answer() == {"id": 77, "result": 5}
    caller.send_raw(b'{"id": 5, "method": "service.open"}')
    assert caller.answer() == {"id": 5, "result": None}


def test_an_exception_comes_with_its_traceback(caller: Caller) -> None:
    fault = caller.call("service.refuse")["error"]
    assert (fault["type"], fault["message"]) == ("ValueError", "no room for that")
    assert "in refuse" in fault["traceback"] and "raise ValueError" in fault["traceback"]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b'{"id": 9, "method": "service.none"}', "LookupError"),
        (b'{"id": 9, "method": "service.add", "params": {"c": 1}}', "TypeError"),
        (b'{"id": 9, "method": "service.secret"}', "TypeError"),
        (b'{"id": 9}', "KeyError"),
    ],
)
def test_a_wrong_request_is_answered_and_the_next_one_served(caller: Caller, line: bytes, kind: str) -> None:
    caller.send_raw(line)
    answer = caller.answer()
    assert (answer["id"], answer["error"]["type"]) == (9, kind)
    assert caller.call("service.add", a=1)["result"] == 2


def test_what_is_no_json_is_answered_too(caller: Caller) -> None:
    caller.send_raw(b"hello?")
    answer = caller.answer()
    assert answer["id"] is None and answer["error"]["type"] == "JSONDecodeError"


def test_a_stuck_call_does_not_hold_up_others(caller: Caller) -> None:
    caller.send("service.wait", 1)
    caller.send("service.add", 2, a=1)
    assert caller.answer()["id"] == 2
    caller.send("service.open", 3)
    rest = {answer["id"]: answer["result"] for answer in (caller.answer(), caller.answer())}
    assert rest == {1: True, 3: None}


def test_only_this_machine_can_connect_and_a_caller_may_go(port: int) -> None:
    leaver, stayer = Caller(port), Caller(port)
    leaver.send("service.wait")
    leaver.close()
    assert stayer.call("service.open") == {"id": 1, "result": None}
    assert stayer.call("service.add", a=1)["result"] == 2
    stayer.close()


# --- guests ----------------------------------------------------------------------------------------

STAND_IN = """
import json, os, socket, sys, threading
qmp, port = (socket.socket(fileno=int(word)) for word in sys.argv[1:3])
mode = sys.argv[3]
print("stand-in:", mode, flush=True)
if mode == "dies at once":
    sys.exit(3)

def serve_qmp():
    version = {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}
    qmp.sendall(json.dumps({"QMP": {"version": version, "capabilities": []}}).encode() + b"\\r\\n")
    text, decoder = "", json.JSONDecoder()
    while piece := qmp.recv(4096):
        text += piece.decode()
        try:
            request, end = decoder.raw_decode(text)
        except ValueError:
            continue
        text = text[end:].lstrip()
        answer = {"return": {"seen": request["execute"], "with": request.get("arguments")}}
        if request["execute"] == "no-such-command":
            answer = {"error": {"class": "CommandNotFound", "desc": "not found"}}
        qmp.sendall(json.dumps({**answer, "id": request.get("id")}).encode() + b"\\r\\n")

threading.Thread(target=serve_qmp, daemon=True).start()
if mode != "silent":
    port.sendall(b"booting\\nhello cpus=2 kvmapf=1\\n")
for line in port.makefile():
    word = line.split()[0]
    if word == "load":
        port.sendall(b"progress 1\\nprogress 2\\nready pages=4\\n")
    elif word == "refused":
        port.sendall(b"error unknown command\\n")
    elif word == "die":
        print("qemu: fatal: it broke", flush=True)
        os._exit(5)
"""


class NoCgroup:
    """Notes which processes went in."""

    made: list[NoCgroup]

    def __init__(self, name: str) -> None:
        self.name, self.pids, self.removed = name, list[int](), False
        self.made.append(self)

    def add(self, pid: int) -> None:
        self.pids.append(pid)

    def remove(self) -> None:
        self.removed = True


class Lab:
    """The guests of an L1 whose QEMU is the stand-in."""

    def __init__(self, directory: Path) -> None:
        self.script = directory / "qemu.py"
        self.script.write_text(STAND_IN)
        self.guests = Guests(directory / "l2")

    def argv(self, mode: str) -> list[str]:
        return [sys.executable, "-S", str(self.script), "@qmp@", "@port@", mode]

    def start(self, mode: str = "well", timeout_s: float = 10, name: str = "a") -> dict[str, Any]:
        return self.guests.start(name, self.argv(mode), timeout_s)

    def launch(self, mode: str = "well") -> None:
        self.guests.launch("a", self.argv(mode))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setattr(NoCgroup, "made", [], raising=False)
    monkeypatch.setattr(guests, "Cgroup", NoCgroup)
    lab = Lab(tmp_path)
    yield lab
    lab.guests.stop_all()


def test_start_gives_the_first_words_and_stop_ends_everything(lab: Lab) -> None:
    started = lab.start()
    assert started["hello"] == "hello cpus=2 kvmapf=1"
    assert 0 < started["seconds"] < 10
    (cgroup,) = NoCgroup.made
    assert (cgroup.name, cgroup.pids, cgroup.removed) == ("a", [started["pid"]], False)
    assert "qemu.log | stand-in: well" in lab.guests.stop("a")
    wait_until_gone(started["pid"])
    assert cgroup.removed
    with pytest.raises(GuestError, match=r"no L2 is called 'a'; running: \[\]"):
        lab.guests.console("a")


def test_commands_and_their_lines(lab: Lab) -> None:
    lab.start()
    assert lab.guests.command("a", "load x", "ready", 5) == ["progress 1", "progress 2", "ready pages=4"]
    assert lab.guests.command("a", "load x", "progress", 5) == ["progress 1"]
    assert lab.guests.listen("a", "ready", 5) == ["progress 2", "ready pages=4"]


def test_qmp_of_a_guest(lab: Lab) -> None:
    lab.start()
    answer = lab.guests.qmp("a", "migrate", {"some_name": 1})
    assert answer == {"seen": "migrate", "with": {"some-name": 1}}
    with pytest.raises(GuestError, match="a: QMP no-such-command refused: not found"):
        lab.guests.qmp("a", "no-such-command", {})


def test_refused_by_the_payload(lab: Lab) -> None:
    lab.start()
    with pytest.raises(GuestError, match="L2 a: the payload refused: error unknown command"):
        lab.guests.command("a", "refused", "ready", 5)
    assert lab.guests.command("a", "load x", "ready", 5)[-1] == "ready pages=4"


def test_death_in_the_middle_is_told_with_qemus_last_words(lab: Lab) -> None:
    lab.start()
    began = time.monotonic()
    with pytest.raises(GuestError) as raised:
        lab.guests.command("a", "die", "ready", 30)
    assert time.monotonic() - began < 5, "seen at once, not at the deadline"
    first, *rest = str(raised.value).splitlines()
    assert first == "L2 a: QEMU ended while 'ready' was awaited; QEMU: exit status 5"
    assert "  qemu.log | qemu: fatal: it broke" in rest
    with pytest.raises(GuestError, match="QEMU: exit status 5"):
        lab.guests.command("a", "load x", "ready", 30)


def test_death_before_the_greeting(lab: Lab) -> None:
    began = time.monotonic()
    with pytest.raises(GuestError, match=r"L2 a: QEMU gave no QMP greeting .*; QEMU: exit status 3"):
        lab.start("dies at once")
    assert time.monotonic() - began < 5, "seen at once, not at the deadline"
    assert NoCgroup.made[0].removed
    assert lab.start()["hello"], "the name is free again"


def test_a_silent_guest_is_ended_at_the_deadline(lab: Lab) -> None:
    with pytest.raises(TimedOut, match=r"L2 a: waited 0\.3 s for 'hello'; last line: nothing"):
        lab.start("silent", timeout_s=0.3)
    wait_until_gone(NoCgroup.made[0].pids[0])
    assert lab.guests.stop_all() == []


def test_a_guest_that_never_stops_talking_is_not_waited_for(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.start()
    began = time.monotonic()

    def chatter(timeout: float) -> str:
        assert time.monotonic() - began < 5, "the deadline was not looked at"
        return "still here"

    monkeypatch.setattr(lab.guests.get("a"), "_lines", SimpleNamespace(get=chatter, put=print))
    with pytest.raises(TimedOut, match=r"waited 0\.1 s for 'ready'; last line: still here"):
        lab.guests.listen("a", "ready", 0.1)


def test_names_are_taken_once_and_all_are_stopped(lab: Lab) -> None:
    pids = [lab.start(name=name)["pid"] for name in ("a", "b")]
    with pytest.raises(GuestError, match="an L2 called 'a' is already there"):
        lab.start()
    assert lab.guests.stop_all() == ["a", "b"]
    for pid in pids:
        wait_until_gone(pid)


def test_a_launched_guest_is_the_one_that_is_started(lab: Lab) -> None:
    lab.launch()
    with pytest.raises(GuestError, match="an L2 called 'a' is already there"):
        lab.launch()
    assert lab.start()["hello"] == "hello cpus=2 kvmapf=1"
    assert len(NoCgroup.made) == 1
    assert lab.guests.stop_all() == ["a"]


def test_a_launched_guest_that_dies_is_told_when_it_is_started(lab: Lab) -> None:
    lab.launch("dies at once")
    with pytest.raises(GuestError, match=r"L2 a: QEMU gave no QMP greeting .*; QEMU: exit status 3"):
        lab.start()
    assert lab.start()["hello"], "the name is free again"


@pytest.mark.parametrize(("mode", "names"), [("well", ["a"]), ("dies at once", [])])
def test_what_was_only_launched_is_ended_too(lab: Lab, mode: str, names: list[str]) -> None:
    lab.launch(mode)
    assert lab.guests.stop_all() == names
    wait_until_gone(NoCgroup.made[0].pids[0])
    assert lab.start()["hello"], "the name is free again"


def test_a_missing_qemu_is_named(lab: Lab) -> None:
    with pytest.raises(LabError, match="program not found: no-such-qemu"):
        lab.guests.start("a", ["no-such-qemu"], 5)
    assert lab.guests.stop_all() == []


@pytest.mark.parametrize(("command", "ends"), [(["sleep", "60"], False), (["true"], True)])
def test_a_qemu_gets_time_to_end_but_not_for_ever(
    command: list[str], ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests, "ENDING_S", 5.0 if ends else 0.02)
    guest = object.__new__(guests.Guest)
    with subprocess.Popen(command) as guest.process:
        guest.give_time_to_end()
        assert (guest.process.returncode is not None) == ends
        guest.process.kill()
