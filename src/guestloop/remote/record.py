# SPDX-License-Identifier: GPL-2.0-or-later
"""``OUT/remote.json``: which run on which host the results are of, and how much of it is at home."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from guestloop.ground.codec import decode, encode
from guestloop.remote.options import RECORD_FILE
from guestloop.remote.request import Request
from guestloop.results.files import read_json, write_json


@dataclass(frozen=True)
class Record:
    """A run on a host, ``host`` as the user named it, ``directory`` is --host-dir or nothing.

    ``attempt`` is the last one, with its ``limit`` (request.py: About). ``begun`` is set before the host is
    told to begin, so that it may not have, and ``home`` when all of its results are here.
    """

    host: str
    request: Request
    directory: str = ""
    attempt: int = 1
    limit: tuple[str, ...] = ()
    begun: bool = False
    home: bool = False

    def next_attempt(self, limit: tuple[str, ...]) -> Record:
        """The same run, which goes on."""
        return replace(self, attempt=self.attempt + 1, limit=limit, home=False)


def read_record(out: Path) -> Record | None:
    """That of a directory with results; None if they were measured here. Raises LabError if it is damaged."""
    path = out / RECORD_FILE
    return read_json(path, lambda data: decode(Record, data)) if path.is_file() else None


def write_record(out: Path, record: Record, *, replace_old: bool = True) -> None:
    """Store it. Raises FileExistsError unless ``replace_old``."""
    write_json(out / RECORD_FILE, encode(record), replace=replace_old)
