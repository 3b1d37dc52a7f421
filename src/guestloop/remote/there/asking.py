# SPDX-License-Identifier: GPL-2.0-or-later
"""A cache that asks the other end for each entry that it does not have, and builds none itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from guestloop.cache import Cache
from guestloop.ground.errors import LabError
from guestloop.remote.packing import unpack
from guestloop.remote.wire import SENT, WANT, Wire


class NotThere(LabError):
    """Neither end has the entry."""


class AskingCache(Cache):
    """Entries of this host, and of the other end, which are copied when they are looked for."""

    def __init__(self, wire: Wire, root: Path | None = None) -> None:
        super().__init__(root)
        self._wire = wire
        self._asked: set[Path] = set()

    def find(self, kind: str, inputs: Mapping[str, object]) -> Path | None:
        """The entry, if either end has it."""
        if found := super().find(kind, inputs):
            return found
        path = self.path(kind, inputs)
        if path in self._asked:
            return None
        self._asked.add(path)
        with suppress(NotThere):
            return self.adopt(kind, inputs, lambda into: self._copy(kind, path.name, into))
        return None

    def obtain(self, kind: str, inputs: Mapping[str, object], _make: Callable[[Path], None]) -> Path:
        """The entry. Raises NotThere where another cache would make it."""
        if found := self.find(kind, inputs):
            return found
        raise NotThere(f"{kind}/{self.path(kind, inputs).name}: to be built")

    def _copy(self, kind: str, key: str, into: Path) -> None:
        self._wire.send({WANT: [kind, key]})
        if not self._wire.receive()[SENT]:
            raise NotThere(f"{kind}/{key}: neither here nor there")
        unpack(self._wire.receive_stream(), into)
