# SPDX-License-Identifier: GPL-2.0-or-later
"""What a series is applied to, one patch after the other: a tree of git, or a directory with files."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from guestloop.ground import proc
from guestloop.sources.git import Git


class Stage(Protocol):
    """A source with the patches so far."""

    def read(self, names: Collection[bytes]) -> Mapping[bytes, bytes | None]:
        """The content of files, None for what is no file."""

    def find_directories(self, names: Collection[bytes]) -> Collection[bytes]:
        """Those of the names that are directories of the source as it was before the series."""

    def find_ending(self, name: bytes) -> Sequence[bytes]:
        """Files of the source whose path ends in a slash and this name."""

    def apply(self, diff: bytes, level: int, *, threeway: bool) -> proc.Answer:
        """Apply a diff whole or not at all, as the status says; without fuzz."""


@dataclass(frozen=True)
class IndexStage:
    """A tree, in an index of its own: no file is written, so a series that does not fit leaves nothing."""

    git: Git
    tree: str

    def read(self, names: Collection[bytes]) -> Mapping[bytes, bytes | None]:
        asked = _plain(names)
        stdout = self._batch("--batch", [b":0:" + name for name in asked])
        return {**dict.fromkeys(names), **dict(zip(asked, _contents(stdout, asked), strict=True))}

    def find_directories(self, names: Collection[bytes]) -> Collection[bytes]:
        asked = _plain(names)
        stdout = self._batch("--batch-check", [self.tree.encode() + b":" + name for name in asked])
        found: set[bytes] = set()
        for name in asked:
            line = b"%s:%s missing\n" % (self.tree.encode(), name)
            if not stdout.startswith(line):
                line, stdout = stdout.partition(b"\n")[0], stdout.partition(b"\n")[2]
                found.update({name} if b" tree " in line else ())
            else:
                stdout = stdout[len(line) :]
        return found

    def find_ending(self, name: bytes) -> Sequence[bytes]:
        names = self.git.run("ls-tree", "-r", "-z", "--name-only", self.tree).stdout.split(b"\0")
        return [one for one in names if one.endswith(b"/" + name)]

    def _batch(self, how: str, objects: Sequence[bytes]) -> bytes:
        """Ask for all at once: a process takes longer than reading an object."""
        stdin = b"".join(name + b"\0" for name in objects)
        return self.git.run("cat-file", how, "-z", stdin=stdin).stdout if objects else b""

    def apply(self, diff: bytes, level: int, *, threeway: bool) -> proc.Answer:
        how = ("--3way",) if threeway else ()
        return self.git.run("apply", "--cached", *how, f"-p{level}", "-", stdin=diff, check=False)


def _plain(names: Collection[bytes]) -> list[bytes]:
    """Names that can be in a tree; git takes others for relative to a work tree."""
    return [name for name in sorted(names) if not {b".", b".."} & set(name.split(b"/"))]


def _contents(stdout: bytes, names: Sequence[bytes]) -> Iterator[bytes | None]:
    """What ``git cat-file --batch`` printed for these names in an index."""
    at = 0
    for name in names:
        missing = b":0:%s missing\n" % name
        if stdout.startswith(missing, at):
            at += len(missing)
            yield None
            continue
        end = stdout.index(b"\n", at)
        kind, size = stdout[at:end].split(b" ")[1:3]
        at = end + 1 + int(size) + 1
        yield stdout[end + 1 : at - 1] if kind == b"blob" else None


@dataclass(frozen=True)
class DirectoryStage:
    """A directory with files, which are changed; ``git apply`` needs no repository for that."""

    root: Path

    def read(self, names: Collection[bytes]) -> Mapping[bytes, bytes | None]:
        paths = {name: self.root / os.fsdecode(name) for name in names}
        return {name: path.read_bytes() if path.is_file() else None for name, path in paths.items()}

    def find_directories(self, names: Collection[bytes]) -> Collection[bytes]:
        return {name for name in names if (self.root / os.fsdecode(name)).is_dir()}

    def find_ending(self, name: bytes) -> Sequence[bytes]:
        found = self.root.rglob(os.fsdecode(name.rpartition(b"/")[2]))
        paths = [os.fsencode(path.relative_to(self.root)) for path in found]
        return [path for path in paths if path.endswith(b"/" + name)]

    def apply(self, diff: bytes, level: int, *, threeway: bool) -> proc.Answer:
        assert not threeway, "it needs the objects of a repository"
        return Git().run("apply", f"-p{level}", "-", cwd=self.root, stdin=diff, check=False)
