# SPDX-License-Identifier: GPL-2.0-or-later
"""The work area of one base: its checkout, its object trees, and their recovery after a kill.

Below ``work`` in the cache::

    kernel-<base>/
        source/            the checkout: files of one tree, and no .git
        index              git's index of it: what it wrote there, with the times of the files
        objects-<key>/     one object tree per configuration and compiler

The checkout is moved from tree to tree, so a file that is the same in both keeps its modification time, and
make builds only what differs. A run may be killed at any point of a move: the index is replaced after the
last file, and its times tell which files are not as it says. So every move begins from what is there, whoever
left it: what the index does not know is removed, what differs from it is written again, and no mark is needed
that says that a move is under way. After it the checkout is compared with the tree, before anything is built.
A move that changes one file takes 1 CPU-s for Linux 6.12, and applying a patch 0.3.

If an object tree is marked as being built, the next run removes the files in it that may be incomplete, and
each run the objects whose source is gone. One lock protects the whole work area (build.py).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from guestloop.cache import Cache
from guestloop.ground.errors import LabError
from guestloop.ground.log import step
from guestloop.sources.git import Git
from guestloop.sources.trees import Tree

MAKING = ".guestloop-making"
CHECKOUT_EXPECT_S = 20.0
# No single command of a kernel build takes this long. So an older file was complete when the build was
# killed.
SUSPECT_S = 60.0
_SHOWN = 3


class WorkTree:
    """The checkout and object trees of one base, below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.source = root / "source"
        self.index = root / "index"

    def move(self, tree: Tree, cache: Cache) -> None:
        """Make the checkout that of a tree, whatever is there.

        Raises LabError if it is not the tree then: the file system cannot hold it, or something else writes
        there.
        """
        self.source.mkdir(parents=True, exist_ok=True)
        Path(f"{self.index}.lock").unlink(missing_ok=True)  # of a killed move; ours is the only one
        git = replace(tree.git(cache), worktree=self.source, index=self.index)
        if self.index.is_file():
            self._move(git, tree)
            return
        with step(f"check out {tree.id[:12]}", expect_s=CHECKOUT_EXPECT_S):
            self._move(git, tree)

    def _move(self, git: Git, tree: Tree) -> None:
        _remove(self.source / ".git")  # git does not see it, and kbuild would ask it for a version
        git.run("clean", "-ffdxq", cwd=self.source)
        git.run("read-tree", "--reset", "-u", tree.id, cwd=self.source)
        if wrong := git.names("ls-files", "-z", "--modified", "--others", cwd=self.source):
            raise LabError(
                f"{self.source}: {len(wrong)} files are not as in tree {tree.id[:12]}:"
                f" {', '.join(wrong[:_SHOWN])}",
                hint="does the file system tell upper from lower case, and does nothing else write there?",
            )

    def objects(self, key: str) -> Path:
        """Return the object tree for a configuration and compiler, without what this checkout does not make.

        To be called after ``move``.
        """
        tree = self.root / f"objects-{key}"
        tree.mkdir(parents=True, exist_ok=True)
        if (tree / MAKING).exists():
            drop_suspects(tree)
            (tree / MAKING).unlink()
        drop_orphans(tree, self.source)
        return tree


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


def drop_orphans(objects: Path, source: Path) -> int:
    """Remove the objects whose source is not in the checkout any more. Returns their number.

    make leaves a file alone that it has no rule for, so a kernel that still names the object would be built
    with that of another kernel. kbuild keeps the name of a source beside its object (scripts/basic/fixdep.c).
    """
    commands = [path for path in objects.rglob(".*.cmd") if path.is_file() and not path.is_symlink()]
    orphans = [path for path in commands if _is_gone(_source_of(path), objects, source)]
    for path in orphans:
        path.with_name(path.name[1:].removesuffix(".cmd")).unlink(missing_ok=True)
        path.unlink()
    return len(orphans)


def _source_of(command: Path) -> str:
    """The source that a ``.cmd`` file names, relative to the object tree; empty if it names none."""
    with command.open("rb") as file:
        line = next((line for line in file if line.startswith(b"source_")), b"")
    return os.fsdecode(line.partition(b" := ")[2].strip())


def _is_gone(name: str, objects: Path, source: Path) -> bool:
    """Whether a file of the checkout is not there. What is made in the object tree is no such file."""
    path = Path(os.path.normpath(objects / name))
    return path != source and path.is_relative_to(source) and not path.is_file()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
