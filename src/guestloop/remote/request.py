# SPDX-License-Identifier: GPL-2.0-or-later
"""What is asked of a host: the words of a run with all that they name, and how far it has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from guestloop.cache import content_key
from guestloop.ground.codec import encode

FILES = "files"
"""What the words name, and the directory in which the run begins."""

SETTINGS = "settings"
"""In place of ~/.config: what the user of this machine has there, and nothing of the host's."""


@dataclass(frozen=True)
class CopiedFile:
    """A file of a run by its name below the run's directory, its SHA-256, and whether it is a program."""

    name: str
    sha256: str
    is_program: bool = False


@dataclass(frozen=True)
class WantedEntry:
    """An entry of the cache that the words need, by its inputs."""

    kind: str
    inputs: Mapping[str, Any]


@dataclass(frozen=True)
class Link:
    """A name below the run's directory for what is in an entry: the number of that, and the name in it."""

    name: str
    entry: int
    inside: str


@dataclass(frozen=True)
class Request:
    """A run. ``words`` are those of ``scripts/run`` without ``--out``; ``asked_by`` is for people.

    An entry that others build on comes before them.
    """

    run: str
    words: tuple[str, ...]
    files: tuple[CopiedFile, ...] = ()
    entries: tuple[WantedEntry, ...] = ()
    links: tuple[Link, ...] = ()
    asked_by: str = ""

    @property
    def identity(self) -> str:
        """Equal for two runs of the same words about the same content."""
        said = encode(self)
        return content_key({name: said[name] for name in ("words", "files", "entries", "links")})


class State(StrEnum):
    """How far an attempt at a run has come."""

    NOT_BEGUN = "not-begun"
    RUNNING = "running"
    ENDED = "ended"
    LOST = "lost"  # it has begun, does not run any more, and left no exit status


@dataclass(frozen=True)
class Standing:
    """How far an attempt has come, its exit status as the shell has it, and where its results are there."""

    state: State
    status: int | None
    out: str


class Type(StrEnum):
    """What is in a directory of results. Sockets and the like are left out."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"


@dataclass(frozen=True)
class Item:
    """One of them by its name below ``out``: mode, modification time, and what identifies its content.

    ``content`` is the SHA-256 of a file, what a link says, and empty for a directory.
    """

    name: str
    type: Type
    mode: int
    mtime_ns: int
    size: int = 0
    content: str = ""


@dataclass(frozen=True)
class Offsets:
    """How many bytes of what a run prints are known already."""

    stdout: int = 0
    log: int = 0


@dataclass(frozen=True)
class About:
    """What an operation on a run is about; each looks at what it needs.

    ``limit`` are the words with which a run goes on, ``offsets`` what is known of what it has printed,
    ``names`` those of files in its results.
    """

    run: str
    attempt: int = 1
    limit: tuple[str, ...] = ()
    offsets: Offsets = Offsets()
    names: tuple[str, ...] = ()
