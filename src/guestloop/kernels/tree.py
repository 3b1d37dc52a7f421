# SPDX-License-Identifier: GPL-2.0-or-later
"""The work area of one base: its source tree, its object trees, and their recovery after a kill.

Below ``work`` in the cache::

    kernel-<base>/
        source/            the base, unpacked once; a series is applied only while a kernel is built
        pristine/          the base's version of every file that the applied series touches
        applied.json       written after pristine/ is complete and before the first file is changed
        objects-<key>/     one object tree per configuration and compiler

A run may be killed at any point. If ``applied.json`` exists, the next run restores the files. If an object
tree is marked as being built, the next run removes the files in it that may be incomplete. One lock
protects the whole work area (build.py).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from guestloop.ground.log import step
from guestloop.kernels import series
from guestloop.kernels.series import Patch
from guestloop.kernels.source import Source

MAKING = ".guestloop-making"
UNPACK_EXPECT_S = 20.0
# No single command of a kernel build takes this long. So an older file was complete when the build was
# killed.
SUSPECT_S = 60.0


class WorkTree:
    """The source tree and object trees of one base, below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.source = root / "source"
        self._pristine = root / "pristine"
        self._record = root / "applied.json"

    def prepare(self, source: Source) -> None:
        """Unpack the base if it is not there. Restore its files if a killed run left a series applied."""
        if self.source.is_dir():
            self.restore()
            return
        scratch = self.root / "source.partial"
        _remove(scratch)
        scratch.mkdir(parents=True)
        with step(f"unpack {source.description}", expect_s=UNPACK_EXPECT_S):
            source.unpack(scratch)
        # A record without its tree is useless: someone removed the tree to save space.
        self._record.unlink(missing_ok=True)
        scratch.rename(self.source)

    @contextmanager
    def applied(self, patches: Sequence[Patch]) -> Iterator[None]:
        """Apply a series to the source tree while the body runs.

        Raises ConfigError if a patch does not apply. The tree is restored in any case.
        """
        self._save(patches)
        try:
            series.apply(self.source, patches)
            yield
        finally:
            self.restore()

    def _save(self, patches: Sequence[Patch]) -> None:
        _remove(self._pristine)
        touched = sorted({file for patch in patches for file in patch.touches})
        for file in touched:
            if (self.source / file).is_file():
                copy = self._pristine / file
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.source / file, copy)
        scratch = self._record.with_suffix(".partial")
        scratch.write_text(
            json.dumps({"series": [patch.name for patch in patches], "touched": touched}, indent=1)
        )
        scratch.replace(self._record)

    def restore(self) -> None:
        """Restore every file that the recorded series touches. Does nothing if there is no record."""
        if not self._record.is_file():
            return
        for file in json.loads(self._record.read_text())["touched"]:
            _put_back(self._pristine / file, self.source / file)
        self._record.unlink()
        _remove(self._pristine)

    def objects(self, key: str) -> Path:
        """Return the object tree for a configuration and compiler, cleaned up if a build was killed."""
        tree = self.root / f"objects-{key}"
        tree.mkdir(parents=True, exist_ok=True)
        if (tree / MAKING).exists():
            drop_suspects(tree)
            (tree / MAKING).unlink()
        return tree


def _put_back(pristine: Path, file: Path) -> None:
    """Restore a file's pristine content, or remove it if the base has no such file.

    The file gets a new modification time. With its old one make would keep the objects that were built
    from the patched file, because they are newer.
    """
    if not pristine.is_file():
        file.unlink(missing_ok=True)
        return
    if file.is_file() and file.read_bytes() == pristine.read_bytes():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.guestloop")
    shutil.copyfile(pristine, scratch)
    shutil.copymode(pristine, scratch)
    scratch.replace(file)


@contextmanager
def making(objects: Path) -> Iterator[None]:
    """Mark an object tree while a build writes to it.

    The mark stays if the body raises. Then make was either killed, or it failed and removed its incomplete
    files itself. In both cases the next run looks only at the newest files.
    """
    (objects / MAKING).unlink(missing_ok=True)  # it may have become a link to anywhere
    (objects / MAKING).touch()
    yield
    (objects / MAKING).unlink()


def drop_suspects(objects: Path, age_s: float = SUSPECT_S) -> int:
    """Remove the files written in the last ``age_s`` seconds before a build was killed. Returns their number.

    A killed compiler leaves an incomplete object file, which make would take for a complete one. ``age_s``
    counts back from the newest file, so it does not matter how long ago the kill was.
    """
    files = [path for path in objects.rglob("*") if path.is_file() and not path.is_symlink()]
    times = {path: path.stat().st_mtime for path in files if path.name != MAKING}
    newest = max(times.values(), default=0.0)
    suspects = [path for path, time in times.items() if time >= newest - age_s]
    for path in suspects:
        path.unlink()
    return len(suspects)


def _remove(directory: Path) -> None:
    if directory.exists():
        shutil.rmtree(directory)
