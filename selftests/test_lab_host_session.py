# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands on a lab host, against a real SSH server in this process that runs them here."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import paramiko
import pytest
from paramiko.common import AUTH_SUCCESSFUL, OPEN_SUCCEEDED

from guestloop.cache import Cache
from guestloop.ground.errors import LabError, LinkLost, TimedOut
from guestloop.images.keys import L1Keys, obtain_keys
from guestloop.vm.parts import Keys
from labhost import session as sessions
from labhost.session import Session

TOLD = "  console | what the host said last"


class Host(paramiko.ServerInterface):
    """Runs every command, as root's shell on the host would."""

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._run, args=(channel, command.decode()), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        channel.recv(1)  # the end of its input, after which the request was answered
        with subprocess.Popen(
            ["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout and process.stderr
            with suppress(OSError):  # whoever asked may be gone
                while piece := process.stdout.read1():  # type: ignore[attr-defined]
                    channel.sendall(piece)
                channel.sendall_stderr(process.stderr.read())
                channel.send_exit_status(process.wait())
        channel.close()


class Server:
    """One connection after another."""

    def __init__(self, keys: L1Keys) -> None:
        self._keys = keys
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._transports: list[paramiko.Transport] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError, paramiko.SSHException, EOFError):
            while True:
                connection, _ = self._listener.accept()
                transport = paramiko.Transport(connection)
                self._transports.append(transport)
                private = str(self._keys.host.private)
                transport.add_server_key(paramiko.Ed25519Key.from_private_key_file(private))
                transport.start_server(server=Host())

    def cut(self) -> None:
        """What the session sees when the host is killed."""
        for transport in self._transports:
            transport.close()

    def close(self) -> None:
        self._listener.close()
        self.cut()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> L1Keys:
    return obtain_keys(Cache(tmp_path_factory.mktemp("keys")))


@pytest.fixture
def server(keys: L1Keys) -> Iterator[Server]:
    server = Server(keys)
    yield server
    server.close()


@pytest.fixture
def session(server: Server, keys: L1Keys) -> Iterator[Session]:
    session = Session(server.port, Keys(keys.client.private, keys.host.public), 10, lambda: TOLD)
    yield session
    session.close()


def test_what_a_command_prints_comes_as_lines_and_its_status_after_them(session: Session) -> None:
    lines: list[str] = []
    status = session.run(["sh", "-c", "echo $WORD; echo two >&2; exit 4"], {"WORD": "one word"}, lines.append)
    assert status == 4
    assert lines == ["one word", "two"]


def test_a_directory_comes_home_as_it_is(session: Session, tmp_path: Path) -> None:
    there = tmp_path / "a directory"
    (there / "rounds").mkdir(parents=True)
    (there / "rounds/1.json").write_bytes(b"{}\n\xff" * 100_000)
    session.fetch(str(there), tmp_path / "home")
    assert (tmp_path / "home/rounds/1.json").read_bytes() == (there / "rounds/1.json").read_bytes()


def test_a_directory_that_is_not_there(session: Session, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="did not come from the lab host"):
        session.fetch(str(tmp_path / "gone"), tmp_path / "home")


def test_a_host_that_is_lost_says_what_it_said_last(session: Session, server: Server) -> None:
    with pytest.raises(LinkLost, match=f"connection to the lab host was lost\n{TOLD}"):
        session.run(["sh", "-c", "echo on; exec sleep 2"], {}, lambda _: server.cut())
    with pytest.raises(LinkLost, match="the lab host is gone"):
        session.run(["true"], {}, lambda _: None)


def test_a_run_that_is_silent_for_too_long(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SILENCE_S", 0.2)
    with pytest.raises(TimedOut, match=r"sh on the lab host has printed nothing for 0.2 s"):
        session.run(["sh", "-c", "exec sleep 2"], {}, lambda _: None)
