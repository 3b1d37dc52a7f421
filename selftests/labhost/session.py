# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands on a lab host, by ssh."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import paramiko

from guestloop.ground import proc
from guestloop.ground.errors import LabError, LinkLost, TimedOut
from guestloop.ground.wait import Deadline
from guestloop.vm.link import connect
from guestloop.vm.parts import Keys

SILENCE_S = 600.0
"""A run prints something at least as often as a round ends, which takes two minutes there."""

NO_STATUS = -1  # of a command whose connection ended first


class Session:
    """A login as root. ``why`` tells what the host has to say when it is lost."""

    def __init__(self, port: int, keys: Keys, seconds: float, why: Callable[[], str]) -> None:
        self.port, self.keys = port, keys
        self._client = connect("the lab host", port, keys, Deadline(seconds))
        self._why = why

    def run(self, argv: Sequence[str], environment: Mapping[str, str], on_line: Callable[[str], None]) -> int:
        """Run a command to its end; ``on_line`` gets what it prints. Returns its exit status.

        Raises TimedOut when it prints nothing for 10 minutes, LinkLost when the host is gone.
        """
        words = ["env", *(f"{name}={value}" for name, value in environment.items()), *argv]
        with self._open(shlex.join(words)) as channel:
            channel.set_combine_stderr(True)
            try:
                for raw in channel.makefile("rb"):
                    on_line(raw.decode(errors="replace").rstrip("\n"))
            except TimeoutError as error:
                silent = f"{argv[0]} on the lab host has printed nothing for {SILENCE_S:g} s"
                raise TimedOut(f"{silent}\n{self._why()}") from error
            return self._end(channel)

    def fetch(self, directory: str, into: Path) -> None:
        """Copy what is in a directory of the host into one of this machine, which is made."""
        into.mkdir(parents=True, exist_ok=True)
        with self._open(shlex.join(["tar", "--create", f"--directory={directory}", "."])) as channel:
            archive = channel.makefile("rb").read()
            if status := self._end(channel):
                raise LabError(f"{directory} did not come from the lab host: tar: exit status {status}")
        proc.read(["tar", "--extract", f"--directory={into}"], given=archive)

    def _open(self, command: str) -> paramiko.Channel:
        transport = self._client.get_transport()
        assert transport is not None
        try:
            channel = transport.open_session(timeout=SILENCE_S)
            channel.settimeout(SILENCE_S)
            channel.exec_command(command)
            channel.shutdown_write()  # there is nobody to answer a question
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise LinkLost(f"the lab host is gone\n{self._why()}") from error
        return channel

    def _end(self, channel: paramiko.Channel) -> int:
        status = channel.recv_exit_status()
        if status == NO_STATUS:
            raise LinkLost(f"the connection to the lab host was lost\n{self._why()}")
        return status

    def close(self) -> None:
        """Log out."""
        self._client.close()
