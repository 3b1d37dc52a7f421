# SPDX-License-Identifier: GPL-2.0-or-later
"""Pass on what a run prints, until it ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from guestloop.ground.errors import LinkLost
from guestloop.ground.wait import wait_for
from guestloop.remote.request import Offsets, Standing, State
from guestloop.remote.there.runs import Attempt
from guestloop.remote.wire import Kind, Wire

LOOK_S = 1.0
PIECE = 64 * 1024


def follow(attempt: Attempt, offsets: Offsets, wire: Wire, gone: Callable[[], bool]) -> Standing:
    """Send what it prints from these offsets on; at its end, how it stands.

    ``gone`` is whether the other end went away. A run may take a night, so there is no other limit.
    """
    stdout, log = _Tail(attempt.stdout, offsets.stdout), _Tail(attempt.log, offsets.log)

    def ended() -> Standing | None:
        if gone():
            raise LinkLost("nobody follows any more")
        standing = attempt.standing()  # before what it has printed by then is read
        for tail, kind in ((log, Kind.LOG), (stdout, Kind.STDOUT)):
            for piece in iter(tail.read, b""):
                wire.send_frame(kind, piece)
        return None if standing.state is State.RUNNING else standing

    return wait_for("a run to end", ended, math.inf, interval=LOOK_S)


class _Tail:
    """A file that grows, from an offset on."""

    def __init__(self, path: Path, offset: int) -> None:
        self._path, self._offset = path, offset

    def read(self) -> bytes:
        """What is new in it, at most a piece."""
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._offset)
            piece = file.read(PIECE)
            self._offset += len(piece)
            return piece
        return b""
