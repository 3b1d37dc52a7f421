# SPDX-License-Identifier: GPL-2.0-or-later
"""Content-addressed cache of everything that is built.

An entry is a directory ``<root>/<kind>/<key>``. The key is a hash of all inputs. An entry is made in a
temporary directory beside it and renamed when it is complete. So it is either complete or absent, even
if the process that makes it is killed. Only one process makes an entry at a time. Others wait for the
lock and then find the finished entry.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from guestloop.ground.errors import CacheError, ProcessError
from guestloop.ground.log import say
from guestloop.ground.surroundings import home
from guestloop.ground.units import MIB

MANIFEST = "inputs.json"
PARTIAL = ".partial"
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
UNWRITABLE = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
)
NO_SPACE = os.strerror(errno.ENOSPC)
# What is said where a write ends early, by git (csum-file.c: "Out of diskspace") and GNU tar (paxutils'
# paxerror.c: "Wrote only 2048 of 10240 bytes"); not translated in LC_ALL=C.UTF-8.
_SHORT_WRITE = re.compile(r"Out of diskspace|Wrote only \d+ of \d+ bytes")


def default_root() -> Path:
    """``$GUESTLOOP_CACHE``, else ``$XDG_CACHE_HOME/guestloop``, else ``~/.cache/guestloop``.

    Raises CacheError for a user without a home directory.
    """
    user = home()
    if own := os.environ.get("GUESTLOOP_CACHE"):
        # A ~ is still there where no shell has read it, as in the settings of CI.
        return user / own.removeprefix("~/") if user and own.startswith("~/") else Path(own)
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():  # others are to be ignored (XDG Base Directory Specification)
        return base / "guestloop"
    if user is None:
        raise CacheError(
            f"no place for the cache: user {os.getuid()} has no home directory, and HOME is not set",
            hint="set GUESTLOOP_CACHE to a writable directory",
        )
    return user / ".cache" / "guestloop"


def says_no_space(output: str) -> bool:
    """Whether a command failed because its disk was full. Nobody tells but the command, in words."""
    return NO_SPACE in output or bool(_SHORT_WRITE.search(output))


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_key(inputs: Mapping[str, object]) -> str:
    """Return a hash of a JSON-serialisable description of inputs. The order of keys does not matter."""
    canonical = json.dumps(inputs, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class Cache:
    """The cache below one root directory. Several processes may use it at once."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_root()).absolute()

    def path(self, kind: str, inputs: Mapping[str, object]) -> Path:
        """Return where the entry for these inputs is, or would be."""
        return self.root / kind / content_key(inputs)[:20]

    def find(self, kind: str, inputs: Mapping[str, object]) -> Path | None:
        """Return the finished entry for these inputs, or None. Raises CacheError for another user's root."""
        entry = self.path(kind, inputs)
        with self.disk_errors():
            return entry if (entry / MANIFEST).is_file() else None

    def obtain(self, kind: str, inputs: Mapping[str, object], make: Callable[[Path], None]) -> Path:
        """Return the entry for these inputs. If it is missing, ``make`` fills a new directory for it.

        Raises CacheError if the disk is full or the root is not writable. Exceptions of ``make`` pass
        through. In both cases no incomplete entry is left.
        """

        def fill(scratch: Path) -> None:
            make(scratch)
            (scratch / MANIFEST).write_text(json.dumps(inputs, indent=2, sort_keys=True) + "\n")

        return self._entry(kind, inputs, fill)

    def adopt(self, kind: str, inputs: Mapping[str, object], copy: Callable[[Path], None]) -> Path:
        """Return the entry for these inputs. If it is missing, ``copy`` fetches all of it from another cache.

        Raises CacheError if that is the entry of other inputs, and otherwise what ``obtain`` does.
        """

        def fill(scratch: Path) -> None:
            copy(scratch)
            copied = json.loads((scratch / MANIFEST).read_text())
            if content_key(copied) != content_key(inputs):
                raise CacheError(f"{kind}/{self.path(kind, inputs).name}: what was copied is another entry")

        return self._entry(kind, inputs, fill)

    def _entry(self, kind: str, inputs: Mapping[str, object], fill: Callable[[Path], None]) -> Path:
        """The finished entry. If it is missing, ``fill`` makes it whole, with its manifest."""
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
                fill(scratch)
                _sync_tree(scratch)
                scratch.rename(entry)
            except BaseException:
                _remove(scratch)
                raise
        return entry

    def sweep(self) -> None:
        """Remove incomplete entries of processes that were killed. Entries in progress are kept."""
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
        """Hold a lock that excludes all other users of this root. It is released if the process dies."""
        with self.disk_errors():
            directory = self.root / "locks"
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except FileNotFoundError as error:  # below /proc, whatever its parents
                raise self._unwritable(error) from error
            descriptor = os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"    waiting for another run that holds the lock {name}")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def disk_errors(self) -> Iterator[None]:
        """Turn errors of the file system into a CacheError with the directory and a hint.

        This includes a command (tar, make, strip) that failed because the disk was full.
        """
        try:
            yield
        except ProcessError as error:
            if says_no_space(error.output):
                raise self._no_space() from error
            raise
        except OSError as error:
            if error.errno in DISK_FULL:
                raise self._no_space() from error
            if error.errno in UNWRITABLE:
                raise self._unwritable(error) from error
            raise

    def _unwritable(self, error: OSError) -> CacheError:
        return CacheError(
            f"the cache {self.root} cannot be written: {error.strerror} ({error.filename})",
            hint="set GUESTLOOP_CACHE to a writable directory",
        )

    def _no_space(self) -> CacheError:
        free = shutil.disk_usage(_existing(self.root)).free // MIB
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
    """Sync everything before the rename, so that a power failure cannot leave an entry with empty files."""
    for path in [*directory.rglob("*"), directory]:
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            continue
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
