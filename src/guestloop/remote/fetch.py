# SPDX-License-Identifier: GPL-2.0-or-later
"""The results of a run, byte for byte as they are on the host.

A file gets its name when all of it is here and its SHA-256 is what the host says. So after a lost connection
only what is not here yet is copied, and two clients that fetch the same run do not disturb each other.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from guestloop.cache import DISK_FULL, file_digest
from guestloop.ground.errors import LabError
from guestloop.ground.log import Step, step
from guestloop.ground.units import MIB
from guestloop.remote.host import Host
from guestloop.remote.names import within
from guestloop.remote.request import Item, Type


@dataclass(frozen=True)
class Fetched:
    """How many files there are at home, and their size in bytes."""

    files: int
    size: int

    def __str__(self) -> str:
        return f"{self.files} files, {self.size / MIB:.1f} MiB"


def fetch(host: Host, run: str, out: Path) -> Fetched:
    """Bring home what is not here yet.

    Raises LinkLost; LabError when the disk is full here, or when something else has the name of a file.
    """
    try:
        with step(f"fetching the results from {host.target.name}") as shown:
            return _fetch(host, run, out, shown)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise LabError(
                f"no space left for {error.filename or out}",
                hint="free some space and pick the run up again: all results are on the host",
            ) from error
        raise LabError(f"{error.filename or out}: {error.strerror}") from error


def _fetch(host: Host, run: str, out: Path, shown: Step) -> Fetched:
    items = host.results(run)
    for item in items:
        if item.type is Type.DIRECTORY:
            within(out, item.name).mkdir(exist_ok=True)
    files = {item.name: item for item in items if item.type is Type.FILE}
    missing = [item.name for item in files.values() if not is_home(out, item)]
    done = 0

    def store(name: str, pieces: Iterator[bytes]) -> None:
        nonlocal done
        _store(out, files[name], pieces)
        done += 1
        shown.update(f"{done} of {len(missing)} files", done / len(missing))

    if missing:
        host.send(run, missing, store)
    _link([item for item in items if item.type is Type.LINK], out)
    return Fetched(len(files), sum(item.size for item in files.values()))


def is_home(out: Path, item: Item) -> bool:
    """Whether a file is here as it is on the host."""
    path = within(out, item.name)
    with suppress(FileNotFoundError):
        found = path.lstat()
        same = stat.S_ISREG(found.st_mode) and found.st_size == item.size
        return same and file_digest(path) == item.content
    return False


def _store(out: Path, item: Item, pieces: Iterator[bytes]) -> None:
    path = within(out, item.name)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    digest = hashlib.sha256()
    try:
        with partial.open("wb") as sink:
            for piece in pieces:
                digest.update(piece)
                sink.write(piece)
            sink.flush()
            os.fsync(sink.fileno())
        if digest.hexdigest() != item.content:
            raise LabError(f"{item.name} changed while it was copied", hint="pick the run up again")
        partial.chmod(item.mode & 0o777)
        os.utime(partial, ns=(item.mtime_ns, item.mtime_ns))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _link(items: Sequence[Item], out: Path) -> None:
    """Links last, so that no file can be written through one."""
    for item in items:
        path = within(out, item.name)
        if path.is_symlink() and str(path.readlink()) == item.content:
            continue
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.unlink(missing_ok=True)
        partial.symlink_to(item.content)
        partial.replace(path)
