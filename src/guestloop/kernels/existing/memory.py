# SPDX-License-Identifier: GPL-2.0-or-later
"""What arguments stood for when they were last resolved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guestloop.cache import Cache
from guestloop.ground.codec import CodecError, decode, encode

FILE = "resolved-kernels.json"


@dataclass(frozen=True)
class Resolution:
    """The packages of a kernel: ``sha256`` of each, and the suite whose signed lists named them."""

    name: str
    version: str
    suite: str
    release_date: str
    sha256: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.name} {self.version} of {self.suite} as of {self.release_date}"


class Memory:
    """A file in the cache, which several processes may use at once.

    Without a suite an argument means the machine's own release, so it is remembered for each.
    """

    def __init__(self, cache: Cache, codename: str) -> None:
        self._cache, self._codename = cache, codename
        self._file = cache.root / FILE

    def find(self, argument: str) -> Resolution | None:
        """What the argument stood for, or None. An entry that cannot be read is none."""
        try:
            return decode(Resolution, self._read().get(self._key(argument)))
        except CodecError:
            return None

    def keep(self, resolutions: Mapping[str, Resolution]) -> None:
        """Store what arguments stand for now."""
        with self._cache.lock(FILE), self._cache.disk_errors():
            known = self._read()
            known.update({self._key(name): encode(found) for name, found in resolutions.items()})
            scratch = self._file.with_name(f".{FILE}")
            scratch.write_text(json.dumps(known, indent=1))
            scratch.replace(self._file)

    def _key(self, argument: str) -> str:
        return f"{self._codename} {argument}"

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self._file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return known if isinstance(known, dict) else {}
