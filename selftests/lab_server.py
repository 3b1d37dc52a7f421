# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab host in this process: an SSH server whose commands run here, with a directory of its own for home.

Operations of scripts/there run in a thread, which saves the start of a Python for each. Everything else is
run by sh, and so are operations when the server is told to.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_CONNECT_FAILED,
    OPEN_SUCCEEDED,
    cMSG_CHANNEL_SUCCESS,
)

from guestloop.ground.errors import LinkLost
from guestloop.images.keys import L1Keys
from guestloop.remote.address import Address
from guestloop.remote.ssh import Connection, Login, connect
from guestloop.remote.there.runs import Place
from guestloop.remote.there.serving import OPERATIONS, FarEnd, Prime
from guestloop.remote.wire import Wire

BROKEN = (paramiko.SSHException, OSError, EOFError)
USER = "lab"


def prime_nothing(_run: object, _cache: object) -> None:
    """Ask for no entry."""


class Door(paramiko.ServerInterface):
    """Lets one key in. Commands are run by the server; connections to it are passed on to anywhere."""

    def __init__(self, server: LabServer) -> None:
        self.server = server

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL if (username, key) == (USER, self.server.client_key) else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        self.server.jumped[chanid] = destination
        return OPEN_SUCCEEDED if self.server.passes_on else OPEN_FAILED_CONNECT_FAILED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        _say_yes(channel)
        threading.Thread(target=self.server.run, args=(channel, command.decode()), daemon=True).start()
        return True


class LabServer:
    """The server. ``real``: scripts/there is started by sh too. ``passes_on``: to other machines."""

    def __init__(self, home: Path, keys: L1Keys) -> None:
        self.home, self.keys = home, keys
        self.client_key = paramiko.Ed25519Key.from_private_key_file(str(keys.client.private))
        self.host_key = paramiko.Ed25519Key.from_private_key_file(str(keys.host.private))
        self.prime: Prime = prime_nothing
        self.real = self.passes_on = False
        self.commands: list[str] = []
        self.jumped: dict[int, tuple[str, int]] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Nobody gets in any more."""
        _close(self._listener)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        _answer_at_once(connection)
        transport = paramiko.Transport(connection)
        transport.add_server_key(self.host_key)
        with suppress(*BROKEN):  # whoever refuses us hangs up
            transport.start_server(server=Door(self))
            while transport.is_active():
                channel = transport.accept(1)
                if channel and (destination := self.jumped.get(channel.get_id())):
                    threading.Thread(target=_pass_on, args=(channel, destination), daemon=True).start()

    def run(self, channel: paramiko.Channel, command: str) -> None:
        """Run a command to its end."""
        words = shlex.split(command)
        self.commands.append(words[-1])
        with suppress(*BROKEN, LinkLost), channel:
            if words[-1] in OPERATIONS and not self.real:
                self._operate(channel, words)
                channel.send_exit_status(0)
            elif (status := self._sh(channel, command)) >= 0:  # sshd has no status for what a signal ended
                channel.send_exit_status(status)

    def _operate(self, channel: paramiko.Channel, words: list[str]) -> None:
        base = Path(words[4] or self.home / ".guestloop")
        place = Place(base, base / "checkouts" / words[5] / "guestloop")
        wire = Wire(channel.recv, channel.sendall)
        FarEnd(place, wire, self.prime, lambda: bool(channel.eof_received or channel.closed)).serve(words[-1])

    def _sh(self, channel: paramiko.Channel, command: str) -> int:
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"]}
        pipe = subprocess.PIPE
        with subprocess.Popen(
            ["/bin/sh", "-c", command],
            env=environment,
            cwd=self.home,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            bufsize=0,
        ) as process:
            assert process.stdin and process.stdout and process.stderr
            feeding = threading.Thread(target=_feed, args=(channel, process.stdin), daemon=True)
            feeding.start()
            erring = threading.Thread(
                target=_pump, args=(process.stderr, channel.sendall_stderr), daemon=True
            )
            erring.start()
            _pump(process.stdout, channel.sendall)
            erring.join()
            return process.wait()


def _say_yes(channel: paramiko.Channel) -> None:
    """Answer a request before it is acted upon: paramiko does so afterwards, which may be after its end."""
    answer = paramiko.Message()
    answer.add_byte(cMSG_CHANNEL_SUCCESS)
    answer.add_int(channel.remote_chanid)
    channel.get_transport()._send_user_message(answer)  # type: ignore[attr-defined]


def _feed(channel: paramiko.Channel, sink: object) -> None:
    with suppress(*BROKEN, ValueError), sink:  # type: ignore[attr-defined]
        while piece := channel.recv(65536):
            sink.write(piece)  # type: ignore[attr-defined]


def _pump(source: object, send: Callable[[bytes], object]) -> None:
    with suppress(*BROKEN):
        while piece := source.read(65536):  # type: ignore[attr-defined]
            send(piece)


def _pass_on(channel: paramiko.Channel, destination: tuple[str, int]) -> None:
    with suppress(*BROKEN), socket.create_connection(destination) as there:

        def back() -> None:
            with suppress(*BROKEN):
                while piece := there.recv(65536):
                    channel.sendall(piece)
            channel.close()

        threading.Thread(target=back, daemon=True).start()
        while piece := channel.recv(65536):
            there.sendall(piece)


def _answer_at_once(*connections: socket.socket) -> None:
    """What is small is not held back until what was sent before is acknowledged."""
    for one in connections:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _close(listener: socket.socket) -> None:
    """While a thread waits for connections it would go on listening."""
    with suppress(OSError):  # it was closed before
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


class Cable:
    """Leads to a port, and is cut after so many bytes: a number for each connection, none for the rest."""

    def __init__(self, port: int, cuts: list[int] | None = None) -> None:
        self._to, self._cuts = port, list(cuts or [])
        self._open: list[socket.socket] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Nobody gets through any more."""
        _close(self._listener)
        self.cut()

    def cut(self) -> None:
        """Cut what is connected."""
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(("127.0.0.1", self._to))
                _answer_at_once(here, there)
                self.connections += 1
                left = _Left(self._cuts.pop(0) if self._cuts else None)
                self._open += [here, there]
                for source, sink in ((here, there), (there, here)):
                    threading.Thread(target=_carry, args=(source, sink, left), daemon=True).start()


@dataclass
class _Left:
    bytes: int | None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, size: int) -> int:
        """How many of these bytes still get through."""
        with self.lock:
            if self.bytes is None:
                return size
            taken = min(size, self.bytes)
            self.bytes -= taken
            return taken


def _carry(source: socket.socket, sink: socket.socket, left: _Left) -> None:
    with suppress(OSError):
        while piece := source.recv(16384):
            through = left.take(len(piece))
            sink.sendall(piece[:through])
            if through < len(piece):
                break
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def login(server: LabServer, directory: Path, port: int | None = None) -> Login:
    """How the server is logged in to: its key is known, and the client's is in a file."""
    port = port or server.port
    known = directory / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {server.keys.host.public}\n")
    return Login(
        address=Address("lab", USER),
        machine="127.0.0.1",
        port=port,
        user=USER,
        known_as=(f"[127.0.0.1]:{port}",),
        known_hosts=(known,),
        identities=(server.keys.client.private,),
        only_these=True,
        agent=False,
    )


def log_in(server: LabServer, directory: Path, port: int | None = None) -> Connection:
    """A connection to it."""
    made = login(server, directory, port)
    return connect(made.address, lambda _address: made)


Content = dict[str, tuple[int, bytes | str]]


def content(directory: Path) -> Content:
    """All that is in a directory, byte for byte, with modes."""
    found: Content = {}
    for path in directory.rglob("*"):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = 0, str(path.readlink())
        elif path.is_dir():
            found[name] = 0, "directory"
        elif name != "remote.json":
            found[name] = path.stat().st_mode & 0o777, path.read_bytes()
    return found
