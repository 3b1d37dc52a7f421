# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls over real sockets: typed on both sides, and every error arrives as what it was raised as."""

from __future__ import annotations

import json
import os
import queue
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, cast

import pytest

from guestloop.ground import rpc, threads
from guestloop.ground.errors import (
    GuestError,
    GuestStuck,
    InternalError,
    Kind,
    L1Panicked,
    LinkLost,
    ProcessError,
    TimedOut,
)
from guestloop.ground.rpc import CALL_S, GRACE_S, Caller, Methods, Server, client, serve_lines
from guestloop.ground.wait import wait_for


class Colour(StrEnum):
    """An argument that is not any text."""

    RED = "red"


@dataclass(frozen=True)
class Pair:
    """A result with a type."""

    first: int
    where: Path


class Base:
    """What a service inherits can be called too."""

    def inherited(self) -> str:
        """From the base."""
        return "base"


class Arithmetic(Base):
    """Service: methods of every shape."""

    constant = 3

    def __init__(self) -> None:
        self.gate = threading.Event()

    def add(self, a: int, b: int = 1) -> int:
        return a + b

    def pair(self, first: int, where: Path) -> Pair:
        return Pair(first, where)

    def paint(self, colours: list[Colour]) -> dict[Colour, int]:
        return dict.fromkeys(colours, 1)

    def slowly(self, timeout_s: float = 7.0) -> float:
        return timeout_s

    def refuse(self) -> None:
        raise ValueError("no room for that")

    def stuck(self) -> None:
        raise GuestStuck("L2 storm does not answer\nmore", hint="look at the console")

    def run(self) -> None:
        raise ProcessError(["insmod", "kvm.ko"], 1, "File exists", hint="rmmod first")

    def secret(self) -> object:
        return object()

    def lie(self) -> int:
        return cast("int", "seven")

    def hang(self) -> bool:
        return self.gate.wait(20)

    def open(self) -> None:
        self.gate.set()

    def _private(self) -> int:
        return 1


class Relay:
    """Service: passes calls on to another process, as the lab does."""

    def __init__(self, target: Caller) -> None:
        self._target = target

    def call(self, method: str, params: dict[str, Any], timeout_s: float) -> Any:
        return self._target.call(method, params, timeout_s)


@dataclass(frozen=True)
class Services:
    """The services of the far end."""

    sums: Arithmetic


@dataclass(frozen=True)
class Relays:
    """The services of the process between."""

    relay: Relay


class Wire:
    """A connection to a server, for lines and for calls."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.lines = self.socket.makefile("rb")

    def caller(self, name: str = "the far end") -> Caller:
        return Caller(name, self.socket.sendall, self.lines)

    def send(self, line: bytes) -> None:
        self.socket.sendall(line + b"\n")

    def ask(self, line: bytes) -> dict[str, Any]:
        self.send(line)
        answer: dict[str, Any] = json.loads(self.lines.readline())
        return answer

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@pytest.fixture
def sums() -> Iterator[Arithmetic]:
    service = Arithmetic()
    yield service
    service.gate.set()


@contextmanager
def served(services: object) -> Iterator[int]:
    with Server(0, Methods(services)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def port(sums: Arithmetic) -> Iterator[int]:
    with served(Services(sums)) as port:
        yield port


@pytest.fixture
def wire(port: int) -> Iterator[Wire]:
    wire = Wire(port)
    yield wire
    wire.socket.close()


@pytest.fixture
def caller(wire: Wire) -> Caller:
    return wire.caller()


@pytest.fixture
def far(caller: Caller) -> Arithmetic:
    """The service as a caller has it."""
    return client(Services, caller.call).sums


# --- calls that work -------------------------------------------------------------------------------


def test_arguments_by_place_and_by_name_and_defaults(far: Arithmetic) -> None:
    assert far.add(2) == 3
    assert far.add(2, 5) == far.add(b=5, a=2) == 7
    assert far.inherited() == "base"
    assert far.open() is None  # type: ignore[func-returns-value]


def test_arguments_and_results_have_their_types_again(far: Arithmetic) -> None:
    assert far.pair(1, Path("/a b")) == Pair(1, Path("/a b"))
    assert far.paint([Colour.RED]) == {Colour.RED: 1}


def test_lines_longer_than_any_buffer(far: Arithmetic) -> None:
    assert far.pair(1, Path("x" * 300_000)).where == Path("x" * 300_000)


def noted(answer: object) -> tuple[list[tuple[str, Mapping[str, Any], float]], rpc.Call]:
    calls: list[tuple[str, Mapping[str, Any], float]] = []

    def call(method: str, params: Mapping[str, Any], timeout_s: float) -> object:
        calls.append((method, params, timeout_s))
        return answer

    return calls, call


def test_the_time_limit_of_a_method_bounds_its_call() -> None:
    """Its default is not sent, but counts: whoever waits here must not give up before the other side does."""
    calls, call = noted(1.0)
    far = client(Services, call).sums
    far.slowly()
    far.slowly(timeout_s=2)
    assert calls == [("sums.slowly", {}, 7 + GRACE_S), ("sums.slowly", {"timeout_s": 2}, 2 + GRACE_S)]


def test_a_method_without_a_time_limit_has_a_backstop() -> None:
    calls, call = noted(3)
    client(Services, call).sums.add(1)
    assert calls == [("sums.add", {"a": 1}, CALL_S)]


def test_calls_from_several_threads_get_their_own_answers(far: Arithmetic) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(far.add, range(40))) == list(range(1, 41))


def test_a_stuck_call_does_not_hold_up_others(far: Arithmetic) -> None:
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(far.hang)
        assert far.add(1) == 2 and not stuck.done()
        far.open()
        assert stuck.result(5) is True


# --- calls that are wrong --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    ["sums.none", "sums", "sums.", "none.add", "", "add", "sums._private", "sums.__init__", "sums.constant"],
)
def test_only_public_methods_of_a_service_can_be_called(caller: Caller, method: str) -> None:
    with pytest.raises(InternalError, match=f"^no method is called '{method}'$"):
        caller.call(method, {}, 5)
    assert caller.call("sums.add", {"a": 1}, 5) == 2, "the next one is served"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "sums.add: missing a required argument: 'a'"),
        ({"a": 1, "c": 2}, "sums.add: got an unexpected keyword argument 'c'"),
        ({"a": "1"}, "sums.add: a: int was wanted, seen: '1'"),
        ({"a": 1, "b": None}, "sums.add: b: int was wanted, seen: None"),
    ],
)
def test_wrong_arguments_are_named(caller: Caller, params: dict[str, Any], message: str) -> None:
    with pytest.raises(InternalError) as raised:
        caller.call("sums.add", params, 5)
    assert str(raised.value) == message


def test_a_wrong_name_does_not_leave_this_process(far: Arithmetic) -> None:
    with pytest.raises(AttributeError, match="no attribute 'subtract'"):
        far.subtract(1)  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="unexpected keyword argument 'c'"):
        far.add(1, c=2)  # type: ignore[call-arg]


def test_a_result_that_json_cannot_hold(far: Arithmetic) -> None:
    with pytest.raises(InternalError, match="a object has no form in JSON") as raised:
        far.secret()
    assert "in encode" in raised.value.traceback


def test_a_result_of_another_shape_than_promised(far: Arithmetic) -> None:
    wanted = r"^sums\.lie answered with something else: sums\.lie: int was wanted, seen: 'seven'$"
    with pytest.raises(InternalError, match=wanted):
        far.lie()


@pytest.mark.parametrize(
    ("line", "identity", "message"),
    [
        (b'{"id": 9}', 9, "KeyError: 'method'"),
        (b'{"id": 9, "method": 5}', 9, "AttributeError: 'int' object has no attribute 'partition'"),
        (b'{"id": 9, "method": "sums.add", "params": 5}', 9, "sums.add: "),
        (b'{"method": "sums.add"}', None, "KeyError: 'id'"),
        (b"[]", None, "TypeError: "),
        (b"hello?", None, "JSONDecodeError: "),
        (b"\xff", None, "UnicodeDecodeError: "),
    ],
)
def test_a_line_that_is_no_request_is_answered(
    wire: Wire, line: bytes, identity: int | None, message: str
) -> None:
    answer = wire.ask(line)
    assert answer["id"] == identity and answer["error"]["kind"] == Kind.INTERNAL
    assert answer["error"]["message"].startswith(message)
    assert wire.ask(b'{"id": 1, "method": "sums.add", "params": {"a": 1}}') == {"id": 1, "result": 2}


def test_params_may_be_left_out(wire: Wire) -> None:
    assert wire.ask(b'{"id": 5, "method": "sums.open"}') == {"id": 5, "result": None}


# --- errors ----------------------------------------------------------------------------------------


def test_an_error_arrives_as_what_it_was_raised_as(far: Arithmetic) -> None:
    with pytest.raises(GuestStuck) as raised:
        far.stuck()
    assert str(raised.value) == "L2 storm does not answer\nmore"
    assert raised.value.hint == "look at the console" and "in stuck" in raised.value.traceback


def test_an_unforeseen_error_is_internal(far: Arithmetic) -> None:
    with pytest.raises(InternalError, match=r"^ValueError: no room for that$") as raised:
        far.refuse()
    assert "in refuse" in raised.value.traceback and "raise ValueError" in raised.value.traceback


@pytest.fixture
def remote(caller: Caller) -> Iterator[Arithmetic]:
    """The service two processes away: a test calls the lab, and the lab calls the agent."""
    with served(Relays(Relay(caller))) as port:
        wire = Wire(port)
        relay = client(Relays, wire.caller("the relay").call).relay

        def call(method: str, params: Mapping[str, Any], timeout_s: float) -> Any:
            return relay.call(method, dict(params), timeout_s)

        yield client(Services, call).sums
        wire.socket.close()


def test_two_hops_change_nothing(remote: Arithmetic) -> None:
    assert remote.pair(1, Path("/x")) == Pair(1, Path("/x"))
    with pytest.raises(GuestStuck, match=r"^L2 storm does not answer\nmore$") as raised:
        remote.stuck()
    assert (raised.value.kind, raised.value.hint) == (Kind.GUEST_STUCK, "look at the console")
    assert "in stuck" in raised.value.traceback and "_target" not in raised.value.traceback
    with pytest.raises(ProcessError, match=r"insmod: exit status 1\n  | File exists") as failed:
        remote.run()
    assert failed.value.hint == "rmmod first"
    with pytest.raises(InternalError, match=r"^ValueError: no room for that$"):
        remote.refuse()


@contextmanager
def answered(line: bytes) -> Iterator[Caller]:
    """A caller to whom the other side says just this, whatever it asks."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Caller("the far end", lambda _: theirs.sendall(line + b"\n"), ours.makefile("rb"))


@pytest.mark.parametrize("error", ['{"kind": "tea-time", "message": "m"}', '{"kind": "lab"}', '"no"'])
def test_an_error_of_an_unknown_shape_is_internal(error: str) -> None:
    line = f'{{"id": 1, "error": {error}}}'.encode()
    with answered(line) as caller, pytest.raises(InternalError, match=r"^an error of an unknown shape: "):
        caller.call("sums.add", {}, 5)


# --- connections that end, and waits that do --------------------------------------------------------


def test_a_lost_connection_ends_every_call_at_once(caller: Caller, wire: Wire) -> None:
    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(caller.call, "sums.hang", {}, 30.0) for _ in range(2)]
        wait_for("both to be sent", lambda: len(caller._pending) == 2 or None, 5, interval=0.005)
        wire.socket.shutdown(socket.SHUT_RDWR)
        for call in calls:
            with pytest.raises(LinkLost, match=r"^the far end: the connection was lost during sums\.hang"):
                call.result(5)
    assert time.monotonic() - started < 2 and caller.lost
    with pytest.raises(LinkLost, match=r"^the far end: the connection is lost"):
        caller.call("sums.add", {"a": 1}, 30)


def test_a_server_that_goes_away_is_noticed(sums: Arithmetic) -> None:
    def refused(_request: bytes) -> None:
        raise BrokenPipeError("gone")

    endless: queue.Queue[bytes] = queue.Queue()
    caller = Caller("the far end", refused, iter(endless.get, b""))
    with pytest.raises(LinkLost, match=r"^the far end: the connection is lost \(gone\)$"):
        caller.call("sums.add", {"a": 1}, 30)
    assert not caller._pending
    endless.put(b"")


@pytest.mark.parametrize("line", [b"no json", b"[1]", b'{"result": 1}', b"\xff"])
def test_what_is_no_answer_ends_the_connection_and_nobody_waits_in_vain(line: bytes) -> None:
    started = time.monotonic()
    with answered(line) as caller, pytest.raises(LinkLost, match=r"connection (is|was) lost.* \(.+Error\("):
        caller.call("sums.add", {"a": 1}, 30)
    assert time.monotonic() - started < 2


def test_timeout_and_a_late_answer(caller: Caller, sums: Arithmetic) -> None:
    with pytest.raises(TimedOut, match=r"^the far end: sums\.hang: no answer in 0\.05 s$"):
        caller.call("sums.hang", {}, 0.05)
    assert not caller._pending
    sums.gate.set()
    assert caller.call("sums.add", {"a": 1}, 5) == 2, "the late answer is not taken for this one"


def test_a_look_ends_a_wait(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "LOOK_S", 0.01)
    looks: list[int] = []

    def look() -> None:
        looks.append(len(looks))
        if len(looks) == 3:
            raise L1Panicked("L1 patched panicked: Oops")

    started = time.monotonic()
    with pytest.raises(L1Panicked):
        caller.call("sums.hang", {}, 30, look)
    assert looks == [0, 1, 2] and time.monotonic() - started < 2
    assert caller.call("sums.add", {"a": 1}, 5, look) == 2


def test_a_caller_may_go_in_the_middle_of_a_call(port: int, wire: Wire, sums: Arithmetic) -> None:
    leaver = Wire(port)
    leaver.send(b'{"id": 1, "method": "sums.hang"}')
    leaver.close()
    sums.gate.set()
    assert wire.ask(b'{"id": 1, "method": "sums.add", "params": {"a": 1}}') == {"id": 1, "result": 2}


# --- what happens outside of a request --------------------------------------------------------------


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, BaseException]]:
    monkeypatch.setattr(threads, "_kept", [])
    return threads._kept


def broken(error: Exception) -> Iterator[bytes]:
    yield b'{"id": 1, "method": "sums.add", "params": {"a": 1}}\n'
    raise error


def test_a_caller_that_was_killed_is_no_fault(sums: Arithmetic) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as answers, os.fdopen(writing, "wb", buffering=0) as sink:
        serve_lines(Methods(Services(sums)), broken(ConnectionResetError()), cast("IO[bytes]", sink))
        assert json.loads(answers.readline()) == {"id": 1, "result": 2}


def test_what_breaks_outside_of_a_request_is_kept(
    port: int, kept: list[tuple[str, BaseException]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no more threads")

    monkeypatch.setattr(rpc, "serve_lines", fail)
    wire = Wire(port)
    assert wire.lines.readline() == b"", "the caller sees the end of the connection"
    wait_for("the fault", lambda: kept or None, 5, interval=0.005)
    with pytest.raises(InternalError, match=r"^a connection of the agent failed: MemoryError: no more"):
        threads.raise_kept("the agent")
    wire.socket.close()


def test_a_thread_does_not_die_unseen(
    kept: list[tuple[str, BaseException]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    threads.watch_threads()

    def fail(error: BaseException) -> None:
        raise error

    for error in (KeyError("cpus"), IndexError("first"), SystemExit(1)):
        thread = threading.Thread(target=fail, args=(error,), name="pace")
        thread.start()
        thread.join()
    assert "KeyError: 'cpus'" in capfd.readouterr().err
    with pytest.raises(InternalError) as raised:
        threads.raise_kept("the lab process")
    wanted = "thread pace of the lab process failed: KeyError: 'cpus' (and 1 more)"
    assert str(raised.value) == wanted and "raise error" in raised.value.traceback
    threads.raise_kept("the lab process")  # only once


def test_a_thread_that_goes_on_keeps_what_broke(kept: list[tuple[str, BaseException]]) -> None:
    with threads.keeping("the pace"):
        raise GuestError("L2 storm")
    assert [(who, str(error)) for who, error in kept] == [("the pace", "L2 storm")]
