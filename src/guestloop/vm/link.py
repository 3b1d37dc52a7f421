# SPDX-License-Identifier: GPL-2.0-or-later
"""The link to L1's agent: one SSH connection, one channel of JSON lines."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping
from typing import Any

import paramiko

from guestloop.ground.errors import LabError, LinkLost
from guestloop.ground.rpc import Caller, nothing_to_see
from guestloop.ground.wait import Deadline, wait_for
from guestloop.vm.argv import AGENT_PORT
from guestloop.vm.parts import Keys

# Failed attempts while L1 boots are expected; paramiko logs each with a traceback at ERROR.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

RETRIED = (paramiko.SSHException, OSError, EOFError)


def connect(
    machine: str, port: int, keys: Keys, deadline: Deadline, look: Callable[[], None] = nothing_to_see
) -> paramiko.SSHClient:
    """Log in as root to the sshd of a machine behind a port of L0, as soon as it answers.

    ``machine`` names it in messages; ``look`` raises when it is gone. Raises LabError when its host key is
    another one, TimedOut without an answer.
    """
    last: Exception | None = None

    def attempt() -> paramiko.SSHClient | None:
        nonlocal last
        look()
        try:
            return _log_in(machine, port, keys)
        except RETRIED as error:
            # QEMU's forward accepts before sshd listens; what follows is silence or a reset.
            last = error
            return None

    return wait_for(f"SSH to {machine}", attempt, deadline.left, last_seen=lambda: repr(last))


def _log_in(machine: str, port: int, keys: Keys) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    kind, _, blob = keys.host_public.strip().partition(" ")
    pinned = paramiko.PKey.from_type_string(kind, _decode(blob))
    client.get_host_keys().add(f"[127.0.0.1]:{port}", kind, pinned)
    try:
        client.connect(
            "127.0.0.1",
            port,
            username="root",
            pkey=paramiko.Ed25519Key.from_private_key_file(str(keys.client)),
            timeout=5,
            banner_timeout=10,
            auth_timeout=20,
            allow_agent=False,
            look_for_keys=False,
        )
    except paramiko.BadHostKeyException as error:
        client.close()
        raise LabError(
            f"{machine}: its SSH host key is not the one of its image",
            hint="something else answers on this port, or the image and its keys are of two caches",
        ) from error
    except RETRIED:
        client.close()
        raise
    return client


class Link:
    """Calls methods of the agent in one L1; safe to use from several threads."""

    def __init__(
        self,
        name: str,
        port: int,
        keys: Keys,
        seconds: float,
        look: Callable[[], None] = nothing_to_see,
    ) -> None:
        self.name, self._look = name, look
        deadline = Deadline(seconds)
        self._client = connect(f"L1 {name}", port, keys, deadline, look)
        try:
            channel = self._open_channel(deadline)
        except BaseException:
            self._client.close()
            raise

        def send(request: bytes) -> None:
            try:
                channel.sendall(request)
            except (paramiko.SSHException, EOFError) as error:
                raise ConnectionError(f"{error!r}") from error

        self._caller = Caller(f"L1 {name}", send, channel.makefile("r"))

    def _open_channel(self, deadline: Deadline) -> paramiko.Channel:
        transport = self._client.get_transport()
        assert transport is not None
        transport.set_keepalive(30)
        last: Exception | None = None

        def attempt() -> paramiko.Channel | None:
            nonlocal last
            self._look()
            try:
                return transport.open_channel(
                    "direct-tcpip", ("127.0.0.1", AGENT_PORT), ("127.0.0.1", 0), timeout=10
                )
            except paramiko.ChannelException as error:
                last = error  # sshd is up before the agent listens
                return None
            except RETRIED as error:
                raise LinkLost(f"L1 {self.name}: the link was lost before the agent answered") from error

        return wait_for(f"the agent in L1 {self.name}", attempt, deadline.left, last_seen=lambda: repr(last))

    def call(
        self,
        method: str,
        params: Mapping[str, Any],
        timeout_s: float,
        look: Callable[[], None] = nothing_to_see,
    ) -> Any:
        """Call a method of the agent, see rpc.Caller.call."""
        return self._caller.call(method, params, timeout_s, look)

    @property
    def lost(self) -> bool:
        """Whether the channel has ended; L1 may be about to end too."""
        return self._caller.lost

    def close(self) -> None:
        """Drop the connection; L1 and its agent go on."""
        self._client.close()


def _decode(blob: str) -> bytes:
    return base64.b64decode(blob.split(" ", maxsplit=1)[0])
