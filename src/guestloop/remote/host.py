# SPDX-License-Identifier: GPL-2.0-or-later
"""A host with this checkout on it, and the operations of its far end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from guestloop.cache import Cache
from guestloop.ground.codec import decode, encode
from guestloop.ground.errors import GuestloopError, LabError, LinkLost
from guestloop.ground.log import say, step
from guestloop.remote.baggage import Baggage
from guestloop.remote.checkout import (
    IN_USE,
    MOST,
    Checkout,
    find_command,
    operation_command,
    take_command,
)
from guestloop.remote.request import About, Item, Standing
from guestloop.remote.shipping import answer
from guestloop.remote.ssh import Connection, Running
from guestloop.remote.there.results import read_pieces
from guestloop.remote.wire import DONE, FILES_WANTED, Broken, Kind, Wire, parse_value

SETUP_STATUS = 3
"""Of scripts/setup, when something is missing that it cannot install."""

Take = Callable[[Kind, bytes], None]
"""Gets what a run prints."""


@dataclass(frozen=True)
class Target:
    """Where on a host: the connection, and --host-dir or nothing."""

    connection: Connection
    directory: str = ""

    @property
    def name(self) -> str:
        return str(self.connection.address)

    @contextmanager
    def command(self, command: str) -> Iterator[tuple[Wire, Running]]:
        """A command and the wire to it, as long as the body runs; what it says is shown.

        Raises what it says to have gone wrong, with the name of the host; LabError if it ends early or fails;
        LinkLost if the connection is lost.
        """
        said: list[str] = []

        def hear(line: str) -> None:
            said.append(line)
            say(f"    {self.name} | {line}")

        with self.connection.start(command, hear) as running:
            wire = Wire(running.read, running.write)
            try:
                wire.skip_preamble()
                yield wire, running
                running.end_input()
                status = running.status()
            except LinkLost as lost:
                raise self._why(wire, running, said) from lost
            except GuestloopError as error:
                raise self._named(error) from error
            if status:
                raise self._ended(wire, status, said)

    def _why(self, wire: Wire, running: Running, said: Sequence[str]) -> GuestloopError:
        """Why a command does not go on: what it has sent last, or its status, or the connection is lost."""
        try:
            with suppress(Broken):
                wire.drain()
            return self._ended(wire, running.status(), said)
        except LinkLost as lost:
            return lost
        except GuestloopError as error:
            return self._named(error)

    def _ended(self, wire: Wire, status: int, said: Sequence[str]) -> GuestloopError:
        if status == IN_USE:
            return InUse(f"{self.name}: the checkout there is in use")
        if status == SETUP_STATUS and not wire.has_begun:
            return LabError(
                f"{self.name}: what guestloop needs is not there: scripts/setup ended with {status}",
                hint="what it says is above; log in as root there once, or name a host that has it",
            )
        last = f": {said[-1]}" if said else ""
        return LabError(f"{self.name}: a command of --host ended with {status}{last}")

    def _named(self, error: GuestloopError) -> GuestloopError:
        message = str(error)
        named = message if message.startswith(self.name) else f"{self.name}: {message}"
        return type(error).revived(named, error.hint, error.traceback)


class InUse(LabError):
    """The checkout that was meant is in use, or another one by now."""


@dataclass(frozen=True)
class Host:
    """A host on which the checkout ``digest`` is in a slot."""

    target: Target
    slot: int
    digest: str

    @contextmanager
    def _operation(self, name: str, about: object) -> Iterator[Wire]:
        command = operation_command(self.target.directory, self.slot, self.digest, name)
        with self.target.command(command) as (wire, _):
            wire.send(encode(about))
            yield wire

    def _ask(self, name: str, about: About) -> Any:
        with self._operation(name, about) as wire:
            return wire.receive()[DONE]

    def lay(self, baggage: Baggage, cache: Cache) -> None:
        """Have it take over what a run needs."""
        with (
            step(f"copying what the run needs to {self.target.name}") as shown,
            self._operation("lay", baggage.request) as wire,
        ):
            if wire.receive()[FILES_WANTED]:
                for file in baggage.request.files:
                    content = baggage.contents[file.name]
                    wire.send_stream([content] if isinstance(content, bytes) else read_pieces(content))
            answer(wire, cache, shown.update)

    def prime(self, run: str, cache: Cache) -> None:
        """Have it ask for entries of the cache."""
        with (
            step(f"copying what {self.target.name} lacks of the cache") as shown,
            self._operation("prime", About(run)) as wire,
        ):
            answer(wire, cache, shown.update)

    def begin(self, about: About) -> Standing:
        """Begin an attempt, unless it has begun; how it stands."""
        return decode(Standing, self._ask("begin", about))

    def interrupt(self, about: About) -> None:
        """End it as by Ctrl-C; it takes its time for that."""
        self._ask("interrupt", about)

    def follow(self, about: About, take: Take) -> Standing:
        """Pass on what it prints until it ends; how it stands then."""
        with self._operation("follow", about) as wire:
            while True:
                kind, data = wire.receive_frame()
                if kind is Kind.VALUE:
                    return decode(Standing, parse_value(data)[DONE])
                take(kind, data)

    def results(self, run: str) -> list[Item]:
        """What it has in its directory of results."""
        return decode(list[Item], self._ask("results", About(run)))

    def send(self, run: str, names: Sequence[str], store: Callable[[str, Iterator[bytes]], None]) -> None:
        """Pass the content of each of these files to ``store``."""
        with self._operation("send", About(run, names=tuple(names))) as wire:
            for name in names:
                store(name, wire.receive_stream())
            wire.receive()


def bring_checkout(target: Target, checkout: Checkout) -> Host:
    """The host with this checkout, which is copied there unless it has it.

    Raises LabError when all places for one are in use there, LinkLost.
    """
    found = _find(target)
    for slot, digest in found.items():
        if digest == checkout.digest:
            return Host(target, slot, digest)
    with step(f"copying this checkout to {target.name}"):
        archive = checkout.pack()
        for slot in range(1, MOST + 1):
            with suppress(InUse):
                _take(target, slot, checkout.digest, archive)
                return Host(target, slot, checkout.digest)
    raise LabError(
        f"{target.name}: all {MOST} checkouts there are in use", hint="each belongs to runs that go on there"
    )


def _find(target: Target) -> dict[int, str]:
    with target.command(find_command(target.directory)) as (_, running):
        listed = b"".join(iter(lambda: running.read(4096), b"")).decode(errors="replace")
    rows = (line.split() for line in listed.splitlines())
    return {int(row[0]): row[1] for row in rows if len(row) == 2 and row[0].isdecimal()}


def _take(target: Target, slot: int, digest: str, archive: bytes) -> None:
    sha256 = hashlib.sha256(archive).hexdigest()
    with target.command(take_command(target.directory, slot, digest, sha256)) as (_, running):
        running.write(archive)
