# SPDX-License-Identifier: GPL-2.0-or-later
"""One login, and commands on the host with bytes to and from them."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import paramiko

from guestloop.ground.errors import LabError, LinkLost
from guestloop.remote.address import Address
from guestloop.remote.ssh.config import Login, find_login
from guestloop.remote.ssh.known import find_identity

# It logs what it raises as well, with a traceback.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

BROKEN = (paramiko.SSHException, OSError, EOFError)
KEEPALIVE_S = 10
DEAD_S = 45
"""A connection on which nothing is acknowledged for so long is lost (tcp(7): TCP_USER_TIMEOUT)."""

ANSWER_S = 60.0
"""For what a host answers at once: a banner, a login, the opening of a channel."""

LAST_WORDS_S = 5.0
"""For stderr when a command has ended: what it has left behind may hold it open."""

NO_STATUS = -1
"""Of a command whose connection ended before it did (paramiko's)."""

Open = Callable[[Address], Login]


def connect(address: Address, find: Open = find_login) -> Connection:
    """Log in to a host, by way of others if its configuration says so.

    Raises LinkLost when it does not answer; LabError when its key is not the one that is known, or when it
    lets nobody in; ConfigError for a configuration that cannot be used.
    """
    login = find(address)
    with ExitStack() as stack:
        on_the_way: paramiko.Channel | None = None
        hops = [*(find(jump) for jump in login.jumps), login]
        for hop, following in zip(hops, [*hops[1:], None], strict=True):
            client = _log_in(hop, on_the_way)
            stack.callback(client.close)
            on_the_way = _through(client, hop, following) if following else None
        return Connection(address, _transport(client), stack.pop_all())


class Connection:
    """A login. It is lost when the host or the network does not answer any more."""

    def __init__(self, address: Address, transport: paramiko.Transport, stack: ExitStack) -> None:
        self.address, self._transport, self._stack = address, transport, stack

    def close(self) -> None:
        """Log out; what was started goes on or ends as it likes."""
        self._stack.close()

    @contextmanager
    def start(self, command: str, on_line: Callable[[str], None]) -> Iterator[Running]:
        """A command, which the login shell of the user reads, as long as the body runs.

        ``on_line`` gets the lines of its stderr, in another thread. Raises LinkLost.
        """
        try:
            channel = self._transport.open_session(timeout=ANSWER_S)
            channel.exec_command(command)
        except BROKEN as error:
            raise LinkLost(f"{self.address}: the connection is lost: {_reason(error)}") from error
        with channel:
            yield Running(self.address, channel, on_line)


class Running:
    """A command on the host."""

    def __init__(self, address: Address, channel: paramiko.Channel, on_line: Callable[[str], None]) -> None:
        self._address, self._channel, self._on_line = address, channel, on_line
        self._listener = threading.Thread(target=self._listen, name="stderr", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        with suppress(*BROKEN):
            for raw in self._channel.makefile_stderr("rb"):
                self._on_line(raw.decode(errors="replace").rstrip("\n"))

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes of its stdout; none at its end, or when the connection is lost."""
        return self._channel.recv(size)

    def write(self, data: bytes) -> None:
        """Write to its stdin. Raises LinkLost when it does not read any more."""
        try:
            self._channel.sendall(data)
        except BROKEN as error:
            raise LinkLost(f"{self._address}: the connection is lost: {_reason(error)}") from error

    def end_input(self) -> None:
        """There is no more for its stdin."""
        with suppress(*BROKEN):
            self._channel.shutdown_write()

    def status(self) -> int:
        """Wait for its end and its last words; the exit status. Raises LinkLost if the connection ended."""
        status = self._channel.recv_exit_status()
        self._listener.join(LAST_WORDS_S)
        if status == NO_STATUS:
            raise LinkLost(f"{self._address}: the connection was lost")
        return status


def _log_in(login: Login, on_the_way: paramiko.Channel | None) -> paramiko.SSHClient:
    host = str(login.address)
    identity = find_identity(host, login.known_hosts, login.known_as)
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(identity)

    def transport(sock: socket.socket, **options: Any) -> paramiko.Transport:
        made = paramiko.Transport(sock, **options)
        identity.prefer(made)
        return made

    try:
        client.connect(
            login.machine,
            login.port,
            username=login.user or None,
            key_filename=[str(path) for path in login.identities if path.is_file()],  # type: ignore[arg-type]
            allow_agent=login.agent,
            look_for_keys=not login.only_these,
            sock=on_the_way or _socket(login),
            timeout=login.timeout_s,
            banner_timeout=ANSWER_S,
            auth_timeout=ANSWER_S,
            transport_factory=transport,  # type: ignore[arg-type]
        )
        _transport(client).set_keepalive(KEEPALIVE_S)
    except BROKEN as error:
        refused = _lets_in_nobody(client)
        client.close()
        if refused:
            raise LabError(
                f"{host}: cannot log in: none of the keys is accepted",
                hint=f"ssh-copy-id {host}; a key with a passphrase has to be in the agent: ssh-add",
            ) from error
        raise LinkLost(f"{host}: no connection by ssh: {_reason(error)}") from error
    except BaseException:
        client.close()
        raise
    return client


def _lets_in_nobody(client: paramiko.SSHClient) -> bool:
    """Whether the connection is there, and only the login failed. paramiko raises any error for that."""
    transport = client.get_transport()
    return transport is not None and transport.is_active() and not transport.is_authenticated()


def _socket(login: Login) -> socket.socket | paramiko.ProxyCommand:
    if login.proxy:
        return paramiko.ProxyCommand(login.proxy)
    sock = socket.create_connection((login.machine, login.port), timeout=login.timeout_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_S * 1000)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as ssh does: 40 ms less for each answer
    return sock


def _transport(client: paramiko.SSHClient) -> paramiko.Transport:
    transport = client.get_transport()
    assert transport is not None, "it is connected"
    return transport


def _through(client: paramiko.SSHClient, hop: Login, following: Login) -> paramiko.Channel:
    try:
        return _transport(client).open_channel(
            "direct-tcpip", (following.machine, following.port), ("127.0.0.1", 0), timeout=following.timeout_s
        )
    except BROKEN as error:
        reason = _reason(error)
        raise LinkLost(f"{following.address}: not reached by way of {hop.address}: {reason}") from error


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
