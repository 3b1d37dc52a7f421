# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run has left, for the other end to fetch."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from guestloop.cache import file_digest
from guestloop.ground.errors import LabError
from guestloop.remote.names import within
from guestloop.remote.request import Item, Type
from guestloop.remote.wire import PIECE, Wire


def items(out: Path) -> Iterator[Item]:
    """All that is in a directory of results, each directory before what is in it."""
    for directory, directories, files in os.walk(out):
        for name in sorted([*directories, *files]):
            if item := _item(out, Path(directory, name)):
                yield item


def _item(out: Path, path: Path) -> Item | None:
    found, name = path.lstat(), str(path.relative_to(out))
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISREG(found.st_mode):
        return Item(name, Type.FILE, mode, found.st_mtime_ns, found.st_size, file_digest(path))
    if stat.S_ISDIR(found.st_mode):
        return Item(name, Type.DIRECTORY, mode, found.st_mtime_ns)
    if stat.S_ISLNK(found.st_mode):
        return Item(name, Type.LINK, mode, found.st_mtime_ns, content=str(path.readlink()))
    return None


def send_files(out: Path, names: Sequence[str], wire: Wire) -> None:
    """Send these files, each as a stream. Raises LabError for a name that is none of them."""
    for name in names:
        path = within(out, name)
        if path.is_symlink() or not path.is_file():
            raise LabError(f"{name}: not a file of the results")
        wire.send_stream(read_pieces(path))


def read_pieces(path: Path) -> Iterator[bytes]:
    """The content of a file."""
    with path.open("rb") as file:
        yield from iter(lambda: file.read(PIECE), b"")
