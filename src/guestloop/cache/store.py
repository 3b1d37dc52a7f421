"""Content-addressed cache of everything that is built.

An entry is a directory ``<root>/<kind>/<key>``, where the key is a hash of all that went into it.
It is made in a temporary directory beside it and renamed when complete, so an entry either exists
whole or not at all, whatever killed the maker. One maker at a time per entry: others wait for the
lock and then find it made.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from guestloop.ground.errors import CacheError, ProcessError
from guestloop.ground.log import say

MANIFEST = "inputs.json"
PARTIAL = ".partial"
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
NO_SPACE = os.strerror(errno.ENOSPC)


def default_root() -> Path:
    """``$GUESTLOOP_CACHE``, else ``$XDG_CACHE_HOME/guestloop``, else ``~/.cache/guestloop``."""
    if own := os.environ.get("GUESTLOOP_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "guestloop"


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_key(inputs: Mapping[str, object]) -> str:
    """Hash of a JSON-serialisable description of inputs; independent of the order of keys."""
    canonical = json.dumps(inputs, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class Cache:
    """The cache under one root directory; safe for several processes at once."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_root()).absolute()

    def path(self, kind: str, inputs: Mapping[str, object]) -> Path:
        """Where the entry for these inputs is, or would be."""
        return self.root / kind / content_key(inputs)[:20]

    def find(self, kind: str, inputs: Mapping[str, object]) -> Path | None:
        """The finished entry for these inputs, or None."""
        entry = self.path(kind, inputs)
        return entry if (entry / MANIFEST).is_file() else None

    def obtain(self, kind: str, inputs: Mapping[str, object], make: Callable[[Path], None]) -> Path:
        """The entry for these inputs; when missing, ``make`` fills a fresh directory for it.

        Raises CacheError when the disk is full or the root cannot be written; whatever ``make``
        raises passes through. In both cases nothing half-written is left.
        """
        if entry := self.find(kind, inputs):
            return entry
        entry = self.path(kind, inputs)
        with self.disk_errors(), self.lock(f"{kind}-{entry.name}"):
            if found := self.find(kind, inputs):
                return found
            scratch = entry.with_name(f".{entry.name}{PARTIAL}")
            _remove(scratch)
            scratch.mkdir(parents=True)
            try:
                make(scratch)
                (scratch / MANIFEST).write_text(json.dumps(inputs, indent=2, sort_keys=True) + "\n")
                _sync_tree(scratch)
                scratch.rename(entry)
            except BaseException:
                _remove(scratch)
                raise
        return entry

    def sweep(self) -> None:
        """Remove what makers that were killed have left half-made; what is being made now stays."""
        for scratch in self.root.glob(f"*/.*{PARTIAL}"):
            name = f"{scratch.parent.name}-{scratch.name[1:].removesuffix(PARTIAL)}"
            descriptor = os.open(self.root / "locks" / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(scratch)
            except BlockingIOError:
                continue
            finally:
                os.close(descriptor)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Exclusive lock shared by all processes that use this root; the kernel drops it on death."""
        with self.disk_errors():
            directory = self.root / "locks"
            directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"    waiting for another run that works on {name}")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def disk_errors(self) -> Iterator[None]:
        """Turn errors of the file system into a CacheError that says which directory and what to do.

        A command (tar, make, strip) that failed for want of space is one of them.
        """
        try:
            yield
        except ProcessError as error:
            if NO_SPACE in error.output:
                raise self._no_space() from error
            raise
        except OSError as error:
            if error.errno in DISK_FULL:
                raise self._no_space() from error
            if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}:
                raise CacheError(
                    f"the cache {self.root} cannot be written: {error.strerror} ({error.filename})",
                    hint="set GUESTLOOP_CACHE to a directory that can be written",
                ) from error
            raise

    def _no_space(self) -> CacheError:
        free = shutil.disk_usage(_existing(self.root)).free >> 20
        return CacheError(
            f"no space left in the cache {self.root} ({free} MiB free)",
            hint="free some space, or set GUESTLOOP_CACHE to a larger disk; nothing was lost",
        )


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _remove(directory: Path) -> None:
    if directory.exists():
        shutil.rmtree(directory)


def _sync_tree(directory: Path) -> None:
    """Write everything out before the rename, so that a power cut leaves no entry of empty files."""
    for path in [*directory.rglob("*"), directory]:
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            continue
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
