# SPDX-License-Identifier: GPL-2.0-or-later
"""Entries of this cache for the host, by the keys that it asks for.

Entries are whole, never change, and their key is a hash of what they were made from, so that one with the
same key is as good as one that the host would build.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from guestloop.cache import MANIFEST, Cache
from guestloop.ground.units import MIB
from guestloop.remote.packing import pack
from guestloop.remote.wire import DONE, SENT, WANT, Wire

_NAME = re.compile(r"[a-z0-9-]+")
_KEY = re.compile(r"[0-9a-f]{20}")


def answer(wire: Wire, cache: Cache, show: Callable[[str], None]) -> Any:
    """Send each entry that is asked for, or say that it is not here, until the operation is done.

    Returns what came of the operation. ``show`` is told what is being copied. Raises what went wrong there.
    """
    while DONE not in (value := wire.receive()):
        kind, key = value[WANT]
        entry = find_entry(cache, kind, key)
        wire.send({SENT: entry is not None})
        if entry:
            _send(entry, wire, show)
    return value[DONE]


def find_entry(cache: Cache, kind: str, key: str) -> Path | None:
    """A finished entry by its kind and key, which come from the host, and may be no such names."""
    entry = cache.root / kind / key
    is_name = _NAME.fullmatch(kind) and _KEY.fullmatch(key)
    return entry if is_name and (entry / MANIFEST).is_file() else None


def _send(entry: Path, wire: Wire, show: Callable[[str], None]) -> None:
    sent = 0

    def counted() -> Iterator[bytes]:
        nonlocal sent
        for piece in pack(entry):
            sent += len(piece)
            show(f"{entry.parent.name}, {sent // MIB} MiB")
            yield piece

    wire.send_stream(counted())
