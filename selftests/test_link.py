# SPDX-License-Identifier: GPL-2.0-or-later
"""The link against a real SSH server in this process, which forwards to a real agent server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import paramiko
import pytest
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_CONNECT_FAILED,
    OPEN_SUCCEEDED,
)

from guestloop.cache import Cache
from guestloop.ground import rpc
from guestloop.ground.errors import GuestStuck, L1Panicked, LabError, LinkLost, TimedOut
from guestloop.ground.rpc import Methods, Server
from guestloop.ground.wait import wait_for
from guestloop.images.keys import L1Keys, obtain_keys
from guestloop.vm.argv import AGENT_PORT
from guestloop.vm.link import Link
from guestloop.vm.parts import Keys


class Words:
    """Service of the far end; ``gate`` is what a stuck call waits for."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def double(self, word: str) -> str:
        return word * 2

    def refuse(self) -> None:
        raise GuestStuck("L2 storm does not answer", hint="look at its console")

    def hang(self) -> bool:
        return self.gate.wait(20)


@dataclass(frozen=True)
class Agent:
    """The services of the far end."""

    words: Words


class Door(paramiko.ServerInterface):
    """Lets one key in, as root, and to the agent's port alone."""

    def __init__(self, client: paramiko.PKey) -> None:
        self.client = client

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        known = username == "root" and key == self.client
        return AUTH_SUCCESSFUL if known else AUTH_FAILED

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        right = destination == ("127.0.0.1", AGENT_PORT)
        return OPEN_SUCCEEDED if right else OPEN_FAILED_CONNECT_FAILED


class SshServer:
    """What L1's sshd does for the link. ``lose`` connections are reset before the first is served."""

    def __init__(self, keys: L1Keys, agent_port: int, lose: int = 0) -> None:
        self._keys, self._agent_port, self._lose = keys, agent_port, lose
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.transports: list[paramiko.Transport] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                if self._lose:
                    self._lose -= 1
                    connection.close()
                else:
                    threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        transport = paramiko.Transport(connection)
        self.transports.append(transport)
        transport.add_server_key(paramiko.Ed25519Key.from_private_key_file(str(self._keys.host.private)))
        client = paramiko.Ed25519Key.from_private_key_file(str(self._keys.client.private))
        with suppress(paramiko.SSHException, EOFError, ConnectionError):  # whoever refuses us hangs up
            transport.start_server(server=Door(client))
            if channel := transport.accept(10):
                self._forward(channel)

    def _forward(self, channel: paramiko.Channel) -> None:
        agent = socket.create_connection(("127.0.0.1", self._agent_port))

        def pump(read: paramiko.Channel | socket.socket, write: paramiko.Channel | socket.socket) -> None:
            with suppress(OSError):
                while piece := read.recv(4096):
                    write.sendall(piece)

        threading.Thread(target=pump, args=(agent, channel), daemon=True).start()
        pump(channel, agent)
        agent.close()

    def cut(self) -> None:
        """What the link sees when L1 dies."""
        for transport in self.transports:
            transport.close()

    def close(self) -> None:
        self._listener.close()
        self.cut()


@pytest.fixture(scope="module")
def l1_keys(tmp_path_factory: pytest.TempPathFactory) -> L1Keys:
    return obtain_keys(Cache(tmp_path_factory.mktemp("keys")))


@pytest.fixture
def keys(l1_keys: L1Keys) -> Keys:
    return Keys(l1_keys.client.private, l1_keys.host.public)


@pytest.fixture
def agent_port() -> Iterator[int]:
    words = Words()
    with Server(0, Methods(Agent(words))) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server.server_address[1]
        words.gate.set()
        server.shutdown()


@pytest.fixture
def sshd(l1_keys: L1Keys, agent_port: int) -> Iterator[SshServer]:
    server = SshServer(l1_keys, agent_port)
    yield server
    server.close()


@pytest.fixture
def link(sshd: SshServer, keys: Keys) -> Iterator[Link]:
    link = Link("patched", sshd.port, keys, 10)
    yield link
    link.close()


def test_call(link: Link) -> None:
    assert link.call("words.double", {"word": "ab"}, 5) == "abab"
    large = "x" * 300_000
    assert link.call("words.double", {"word": large}, 5) == large * 2


def test_calls_from_several_threads_get_their_own_answers(link: Link) -> None:
    words = [f"<{number}>" for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda word: link.call("words.double", {"word": word}, 5), words)
        assert list(answers) == [word * 2 for word in words]


def test_what_the_agent_raises_is_raised_here_with_its_traceback(link: Link) -> None:
    with pytest.raises(GuestStuck, match=r"^L2 storm does not answer$") as raised:
        link.call("words.refuse", {}, 5)
    assert "in refuse" in raised.value.traceback and raised.value.hint == "look at its console"
    assert link.call("words.double", {"word": "a"}, 5) == "aa"


def test_timeout_of_a_call(link: Link) -> None:
    with pytest.raises(TimedOut, match=r"L1 patched: words\.hang: no answer in 0\.05 s"):
        link.call("words.hang", {}, 0.05)
    assert link.call("words.double", {"word": "a"}, 5) == "aa", "a late answer must not be taken for this one"


def test_link_cut_during_a_call(link: Link, sshd: SshServer) -> None:
    started = time.monotonic()
    assert not link.lost
    threading.Timer(0.05, sshd.cut).start()
    with pytest.raises(LinkLost, match=r"^L1 patched: the connection was lost during words\.hang"):
        link.call("words.hang", {}, 30)
    assert time.monotonic() - started < 5, "seen at once, not at the deadline"
    assert link.lost
    with pytest.raises(LinkLost, match=r"^L1 patched: the connection is lost"):
        link.call("words.double", {"word": "a"}, 30)


@pytest.mark.parametrize("fault", [paramiko.SSHException("key exchange timed out"), EOFError()])
def test_a_request_that_cannot_be_sent(link: Link, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    def refuse(_channel: paramiko.Channel, _request: bytes) -> None:
        raise fault

    monkeypatch.setattr(paramiko.Channel, "sendall", refuse)
    with pytest.raises(LinkLost, match=r"^L1 patched: the connection is lost \((SSHException|EOFError)"):
        link.call("words.double", {"word": "a"}, 5)


def test_a_look_ends_a_call(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    def look() -> None:
        raise L1Panicked("L1 patched panicked: Oops")

    monkeypatch.setattr(rpc, "LOOK_S", 0.01)
    with pytest.raises(L1Panicked):
        link.call("words.hang", {}, 30, look)


def test_a_wrong_host_key_is_refused_at_once(sshd: SshServer, keys: Keys, tmp_path: Path) -> None:
    other = obtain_keys(Cache(tmp_path)).host.public
    started = time.monotonic()
    with pytest.raises(LabError, match=r"^L1 patched: its SSH host key is not the one of its image"):
        Link("patched", sshd.port, replace(keys, host_public=other), 30)
    assert time.monotonic() - started < 5


def test_sshd_that_is_not_up_yet_is_tried_again(l1_keys: L1Keys, keys: Keys, agent_port: int) -> None:
    server = SshServer(l1_keys, agent_port, lose=2)
    link = Link("patched", server.port, keys, 10)
    assert link.call("words.double", {"word": "a"}, 5) == "aa"
    link.close()
    server.close()


def test_nobody_there(keys: Keys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(
        TimedOut, match=r"waited 0\.2 s for SSH to L1 patched; last seen: .*Unable to connect"
    ):
        Link("patched", port, keys, 0.2)


def test_agent_that_does_not_listen_yet(sshd: SshServer, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([OPEN_FAILED_CONNECT_FAILED] * 2 + [OPEN_SUCCEEDED])
    monkeypatch.setattr(Door, "check_channel_direct_tcpip_request", lambda *_: next(answers))
    link = Link("patched", sshd.port, keys, 10)
    assert link.call("words.double", {"word": "a"}, 5) == "aa"
    link.close()


def test_link_cut_before_there_is_a_channel(
    sshd: SshServer, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> int:
        sshd.cut()
        return OPEN_FAILED_CONNECT_FAILED

    monkeypatch.setattr(Door, "check_channel_direct_tcpip_request", cut)
    with pytest.raises(LinkLost, match=r"^L1 patched: the link was lost before the agent answered$"):
        Link("patched", sshd.port, keys, 10)


def test_close_leaves_the_other_end_alone(link: Link, sshd: SshServer, agent_port: int) -> None:
    link.close()
    with pytest.raises(LinkLost, match=r"^L1 patched: the connection is lost"):
        wait_for("calls to be refused", lambda: link.call("words.double", {"word": "a"}, 5) and None, 5)
    with socket.create_connection(("127.0.0.1", agent_port), timeout=5) as still:
        still.sendall(b'{"id": 1, "method": "words.double", "params": {"word": "a"}}\n')
        assert b'"aa"' in still.recv(4096)
