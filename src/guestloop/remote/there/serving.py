# SPDX-License-Identifier: GPL-2.0-or-later
"""From the word of ``scripts/there`` to an operation, and what goes wrong in it to the other end."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guestloop.cache import DISK_FULL, Cache
from guestloop.config import REPOSITORY
from guestloop.ground.codec import decode, encode
from guestloop.ground.errors import ConfigError, Exit, GuestloopError, LabError, LinkLost
from guestloop.remote.request import About, Request
from guestloop.remote.there.asking import AskingCache
from guestloop.remote.there.beginning import begin, interrupt
from guestloop.remote.there.following import follow
from guestloop.remote.there.laying import lay
from guestloop.remote.there.results import items, send_files
from guestloop.remote.there.runs import Attempt, Place, Run
from guestloop.remote.wire import DONE, Wire

Prime = Callable[[Run, Cache], None]
"""Looks for all that a run will take from a cache."""

STDIN, STDOUT, STDERR = range(3)
CHECKOUTS = "checkouts"


@dataclass(frozen=True)
class FarEnd:
    """What an operation works with. ``gone`` is whether the other end went away."""

    place: Place
    wire: Wire
    prime: Prime
    gone: Callable[[], bool]

    def serve(self, operation: str) -> None:
        """Receive what an operation is about, and do it. What goes wrong is sent, if it can be."""
        self.wire.begin()
        try:
            about = self.wire.receive()
            if operation not in OPERATIONS:
                raise ConfigError(f"no operation of scripts/there: {operation!r}")
            self.wire.send({DONE: OPERATIONS[operation](self, about)})
        except LinkLost:
            raise  # there is nobody to tell
        except GuestloopError as error:
            self.wire.send_error(error)
        except (OSError, ValueError) as error:  # a full disk; a request of another version
            self.wire.send_error(_told(error))

    def run(self, about: Any) -> Run:
        """The run that it is about."""
        return self.place.run(decode(About, about).run)

    def attempt(self, about: Any) -> Attempt:
        """The attempt that it is about."""
        return self.run(about).attempt(decode(About, about).attempt)


def _lay(far: FarEnd, about: Any) -> None:
    lay(far.place, decode(Request, about), far.wire, AskingCache(far.wire))


def _prime(far: FarEnd, about: Any) -> None:
    far.prime(far.run(about), AskingCache(far.wire))


def _begin(far: FarEnd, about: Any) -> Any:
    wanted = decode(About, about)
    begin(far.place, far.run(about), wanted.attempt, wanted.limit)
    return encode(far.attempt(about).standing())


def _follow(far: FarEnd, about: Any) -> Any:
    return encode(follow(far.attempt(about), decode(About, about).offsets, far.wire, far.gone))


def _interrupt(far: FarEnd, about: Any) -> None:
    interrupt(far.attempt(about))


def _results(far: FarEnd, about: Any) -> Any:
    return [encode(item) for item in items(far.run(about).out)]


def _send(far: FarEnd, about: Any) -> None:
    send_files(far.run(about).out, decode(About, about).names, far.wire)


OPERATIONS: Mapping[str, Callable[[FarEnd, Any], Any]] = {
    "lay": _lay,
    "prime": _prime,
    "begin": _begin,
    "follow": _follow,
    "interrupt": _interrupt,
    "results": _results,
    "send": _send,
}


def _told(error: OSError | ValueError) -> Exception:
    if isinstance(error, ValueError):
        return error
    if error.errno in DISK_FULL:
        return LabError(f"no space left for {error.filename or 'the run'}", hint="free some space there")
    return LabError(f"{error.filename or 'a file'}: {error.strerror or error}")


def find_place(checkout: Path) -> Place:
    """Where runs of a checkout are, which is at checkouts/N/guestloop of what is kept here."""
    slot = checkout.parent
    if slot.parent.name != CHECKOUTS:
        raise ConfigError(
            f"{checkout}: not a checkout that scripts/run --host has copied",
            hint="scripts/there is its far end, and is not started by hand",
        )
    return Place(slot.parent.parent, checkout)


def serve(operation: str, prime: Prime) -> Exit:
    """The process of an operation, whose stdin and stdout lead to the other end.

    Raises ConfigError in a checkout that was not copied here for that.
    """
    place = find_place(REPOSITORY)
    # Nothing else that is printed may get between the frames.
    sink = os.fdopen(os.dup(STDOUT), "wb")
    os.dup2(STDERR, STDOUT)

    def write(data: bytes) -> None:
        sink.write(data)
        sink.flush()

    # After what an operation is about the other end has no more to say, but that it is gone.
    def gone() -> bool:
        return bool(select.select([STDIN], [], [], 0)[0])

    wire = Wire(lambda size: os.read(STDIN, size), write)
    with suppress(LinkLost, BrokenPipeError):
        FarEnd(place, wire, prime, gone).serve(operation)
    return Exit.OK
