# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run on a host prints, printed here as if it ran here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from guestloop.ground.log import say
from guestloop.remote.request import Offsets
from guestloop.remote.wire import Kind


class Printing:
    """Prints whole lines, and knows how much it has got. ``there`` is what the host calls ``out``."""

    def __init__(self, there: str, out: Path) -> None:
        self._there, self._out = there, str(out)
        self._stdout, self._log = _Lines(_print), _Lines(say)

    @property
    def offsets(self) -> Offsets:
        """From where on the next connection has to go on."""
        return Offsets(self._stdout.size, self._log.size)

    def take(self, kind: Kind, data: bytes) -> None:
        """Print what has come."""
        lines = self._stdout if kind is Kind.STDOUT else self._log
        for line in lines.take(data):
            lines.show(line.replace(self._there, self._out))


class _Lines:
    """Bytes that come in pieces, as lines. A run ends each of its own."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self.show, self.size = show, 0
        self._rest = b""

    def take(self, data: bytes) -> list[str]:
        self.size += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
