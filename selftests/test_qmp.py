# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP over a socket pair: answers, refusals, silence, and a QEMU that goes away."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from qemu.qmp import QMPClient

from guestloop.ground import qmp_session
from guestloop.ground.errors import Disconnected, Refused, TimedOut
from guestloop.ground.qmp import Qmp

GREETING = {
    "QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}
}


class FakeQemu:
    """The other end of QMP: it refuses ``no-such``, ignores ``wait``, ends at ``die``, else answers."""

    def __init__(self, *, greets: bool = True) -> None:
        self.ours, self._theirs = socket.socketpair()
        self.seen: list[dict[str, Any]] = []
        if greets:
            self._send(GREETING)
        threading.Thread(target=self._serve, daemon=True).start()

    def _send(self, answer: dict[str, Any]) -> None:
        self._theirs.sendall(json.dumps(answer).encode() + b"\r\n")

    def _serve(self) -> None:
        decoder, text = json.JSONDecoder(), ""
        while piece := self._theirs.recv(4096):
            text += piece.decode()
            while text:
                request, end = decoder.raw_decode(text)
                text = text[end:].lstrip()
                self._answer(request)

    def _answer(self, request: dict[str, Any]) -> None:
        name, identity = request["execute"], request.get("id")  # the first, qmp_capabilities, has none
        if name == "die":
            self._theirs.shutdown(socket.SHUT_RDWR)
        elif name == "no-such":
            self._send({"error": {"class": "CommandNotFound", "desc": "not found"}, "id": identity})
        elif name != "wait":
            self.seen.append(request)
            self._send({"return": {"asked": name, "with": request.get("arguments")}, "id": identity})

    def close(self) -> None:
        with suppress(OSError):
            self._theirs.shutdown(socket.SHUT_RDWR)  # the thread notices that, unlike a close


@pytest.fixture
def qemu() -> Iterator[FakeQemu]:
    qemu = FakeQemu()
    yield qemu
    qemu.close()


@pytest.fixture
def qmp(qemu: FakeQemu) -> Iterator[Qmp]:
    qmp = Qmp("L1 patched", qemu.ours)
    yield qmp
    qmp.close()


def test_names_of_arguments_have_hyphens(qmp: Qmp) -> None:
    assert qmp.execute("migrate", some_name=1) == {"asked": "migrate", "with": {"some-name": 1}}
    assert qmp.execute("query-status") == {"asked": "query-status", "with": None}


def test_some_commands_are_older_than_that_rule(qmp: Qmp) -> None:
    answer = qmp.execute_as_spelt("block_set_io_throttle", {"iops_rd": 250})
    assert answer == {"asked": "block_set_io_throttle", "with": {"iops_rd": 250}}


def test_a_refusal_names_machine_and_command(qmp: Qmp) -> None:
    with pytest.raises(Refused, match=r"^L1 patched: QMP no-such refused: not found$"):
        qmp.execute("no-such")
    assert qmp.execute("query-status")["asked"] == "query-status", "the session goes on"


class JustDone:
    """An answer that comes in the moment in which the wait for it is over."""

    def result(self, timeout: float | None = None) -> str:
        if timeout is not None:
            raise TimeoutError
        return "the answer"

    def done(self) -> bool:
        return True


def test_an_answer_that_comes_as_a_wait_ends_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits last a second: a greeting that took just as long was reported as silence for 30 s."""
    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", lambda _work, _loop: JustDone())
    work: Any = None
    assert qmp_session._shared_loop().run(work, 30.0) == "the answer"


def test_silence_ends_at_the_deadline_and_the_session_goes_on(qmp: Qmp) -> None:
    with pytest.raises(TimedOut, match=r"^L1 patched: QMP wait: no answer in 0\.05 s$"):
        qmp.execute("wait", timeout_s=0.05)
    assert qmp.execute("query-status")["asked"] == "query-status"


def test_an_end_in_the_middle_is_seen_at_once(qmp: Qmp) -> None:
    started = time.monotonic()
    with pytest.raises(Disconnected, match=r"^L1 patched: QMP die: connection lost \("):
        qmp.execute("die")
    with pytest.raises(Disconnected, match=r"^L1 patched: QMP query-status: connection lost \("):
        qmp.execute("query-status")
    assert time.monotonic() - started < 2
    qmp.close()  # once more than the fixture: no error either


def test_an_end_right_after_the_greeting(qemu: FakeQemu, monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(*_: object) -> None:
        raise AssertionError("runstate")

    monkeypatch.setattr(QMPClient, "connect", connect)
    with pytest.raises(Disconnected, match=r"^a: QMP greeting: connection lost \(runstate\)$"):
        Qmp("a", qemu.ours)


def test_no_greeting() -> None:
    silent, gone = FakeQemu(greets=False), FakeQemu(greets=False)
    gone.close()
    with pytest.raises(Disconnected, match=r"^a: QMP greeting: connection lost"):
        Qmp("a", gone.ours)
    with pytest.raises(TimedOut, match=r"^b: QMP greeting: no answer in 0\.05 s$"):
        Qmp("b", silent.ours, timeout_s=0.05)
    silent.close()
