# SPDX-License-Identifier: GPL-2.0-or-later
"""Result files: written whole or not at all, also when the writer is killed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from guestloop.ground.errors import LabError

T = TypeVar("T")


def write_json(path: Path, data: object, *, replace: bool = False) -> None:
    """Write a JSON file whole or not at all, also if killed. Raises FileExistsError unless ``replace``."""
    write_bytes(path, (json.dumps(data, indent=1) + "\n").encode(), replace=replace)


def write_bytes(path: Path, content: bytes, *, replace: bool = False) -> None:
    """Write a file whole or not at all, also if killed. Raises FileExistsError unless ``replace``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if replace or not _write_nameless(path, content):
        _write_beside(path, content, replace=replace)


def _write_nameless(path: Path, content: bytes) -> bool:
    """Write a new file that has no name until it is whole; False where the file system cannot (NFS)."""
    try:
        handle = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR):
            return False
        raise
    with os.fdopen(handle, "wb") as file:
        _write_through(file, content)
        # Any src_dir_fd makes this linkat() with AT_SYMLINK_FOLLOW, as open(2) has it for O_TMPFILE.
        os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=handle)
    return True


def _write_beside(path: Path, content: bytes, *, replace: bool) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            _write_through(file, content)
        if replace:
            partial.replace(path)
        else:
            os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_through(file: BinaryIO, content: bytes) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep others waiting here that read a file of a directory to write it again, while the body runs.

    The kernel ends the lock with this process. A file system that knows no locks is taken as it is.
    """
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOLCK):
                raise
        yield
    finally:
        os.close(handle)


def read_json(path: Path, parse: Callable[[Any], T]) -> T:
    """A stored result. Raises LabError naming a file that is damaged or of another version."""
    try:
        return parse(json.loads(path.read_text()))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        message = f"{path}: cannot be read as a result: {type(error).__name__}: {error}"
        raise LabError(message, hint="is it damaged, or of another version of guestloop?") from error
