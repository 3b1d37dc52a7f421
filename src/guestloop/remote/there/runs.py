# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs on this host: a directory each, and in it one for each attempt at it.

::

    runs/ID/request.json  files/  settings/    what was asked, and what it names
            out/                               the results, of all attempts
            attempts/N/lock                    held (flock) as long as the attempt runs
                       command.json            what the supervisor is to run
                       begun                   the process id of the supervisor
                       stdout  log             what it prints
                       running or ended-S      S is the exit status

The lock is what tells whether an attempt runs: it is let go whatever ends its process, and a process id that
is used again means nothing. The status is in the name of a file, since a full disk would not take another.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from guestloop.ground import codec
from guestloop.ground.errors import ConfigError, TimedOut
from guestloop.ground.wait import wait_for
from guestloop.remote.request import FILES, SETTINGS, Request, Standing, State

_ID = re.compile(r"[0-9a-f]{32}")
RUNNING, ENDED = "running", "ended-"
LOOK_S = 0.5
"""Those that look whether an attempt runs have its lock for a moment."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a run."""

    directory: Path
    out: Path

    @property
    def stdout(self) -> Path:
        return self.directory / "stdout"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def command(self) -> Path:
        return self.directory / "command.json"

    @property
    def begun(self) -> Path:
        return self.directory / "begun"

    def standing(self) -> Standing:
        """How far it has come now."""
        if not self.begun.exists():
            return self._standing(State.NOT_BEGUN)
        if (descriptor := self.lock(shared=True)) is None:
            return self._standing(State.RUNNING)
        os.close(descriptor)
        if ended := next(self.directory.glob(f"{ENDED}*"), None):
            return self._standing(State.ENDED, int(ended.name.removeprefix(ENDED)))
        return self._standing(State.LOST)

    def _standing(self, state: State, status: int | None = None) -> Standing:
        return Standing(state, status, str(self.out))

    def lock(self, *, shared: bool = False) -> int | None:
        """Take the lock; a descriptor that holds it, or None while the attempt runs."""
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX

        def take() -> bool | None:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            return True

        try:
            wait_for("the lock of a run", take, 0 if shared else LOOK_S)
        except TimedOut:
            os.close(descriptor)
            return None
        return descriptor

    def pid(self) -> int:
        """The process id of its supervisor."""
        return int(self.begun.read_text())


@dataclass(frozen=True)
class Run:
    """A run on this host."""

    directory: Path

    @property
    def files(self) -> Path:
        return self.directory / FILES

    @property
    def settings(self) -> Path:
        return self.directory / SETTINGS

    @property
    def out(self) -> Path:
        return self.directory / "out"

    @property
    def request_file(self) -> Path:
        return self.directory / "request.json"

    def request(self) -> Request:
        """What was asked. Raises ConfigError when there is no such run here."""
        try:
            return codec.decode(Request, json.loads(self.request_file.read_text()))
        except FileNotFoundError:
            raise ConfigError(
                f"there is no run {self.directory.name} on this host any more",
                hint="was it removed? What was fetched of it can be compared: scripts/compare OUT",
            ) from None

    def attempt(self, number: int) -> Attempt:
        """An attempt, begun or not."""
        return Attempt(self.directory / "attempts" / str(number), self.out)


@dataclass(frozen=True)
class Place:
    """Where things are on this host: ``base`` has its runs, ``checkout`` is what they run."""

    base: Path
    checkout: Path

    def run(self, identity: str) -> Run:
        """A run by its id. Raises ConfigError for what cannot be one."""
        if not _ID.fullmatch(identity):
            raise ConfigError(f"a run has 32 hexadecimal digits, seen: {identity!r}")
        return Run(self.base / "runs" / identity)
