# SPDX-License-Identifier: GPL-2.0-or-later
"""Trees of git, and the object stores in the cache and in repositories of users that hold them.

A store is a directory with objects that is never written to again: one per tarball, per state of a work tree
and per series on a base, each an entry of the cache, so whole or not there at all. A repository of the user
is one more store, read in place. A tree is read through a chain of them, as git's alternates are, with a git
directory that has nothing in it but the rule that no attribute of any tree changes a byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from guestloop.cache import Cache
from guestloop.sources.git import Git

GIT_KIND = "git"  # of cache entries
OBJECTS = "objects"
FORMAT = 1

# In $GIT_DIR/info/attributes, which wins over the .gitattributes of a tree. "!": as if nothing had been said.
ATTRIBUTES = "* -text !eol -ident -filter !working-tree-encoding !merge !whitespace !conflict-marker-size\n"

_VERSION = re.compile(rb"^(VERSION|PATCHLEVEL)[ \t]*=[ \t]*(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Tree:
    """A tree by its id, with the object stores that it is read from."""

    id: str
    stores: tuple[Path, ...]

    def git(self, cache: Cache) -> Git:
        """git, reading from these stores and writing nowhere."""
        return Git(directory=git_directory(cache), stores=self.stores)


def git_directory(cache: Cache) -> Path:
    """A git directory without objects, references or configuration of anybody's."""
    return cache.obtain(GIT_KIND, {"format": FORMAT, "attributes": ATTRIBUTES}, _make_directory) / "git"


def _make_directory(entry: Path) -> None:
    init(entry / "git")


def init(directory: Path) -> Git:
    """Make a bare repository that looks at no attributes."""
    Git().run("init", "--quiet", "--bare", "--template=", "--object-format=sha1", directory)
    (directory / "info").mkdir(exist_ok=True)
    (directory / "info/attributes").write_text(ATTRIBUTES)
    return Git(directory=directory)


def writing(git: Git, objects: Path, index: Path) -> Git:
    """git with the same sources, writing new objects to a store of their own."""
    (objects / "info").mkdir(parents=True, exist_ok=True)
    (objects / "pack").mkdir(exist_ok=True)
    return replace(git, objects=objects, index=index)


def read_file(tree: Tree, name: str, cache: Cache) -> bytes | None:
    """The content of a file of a tree; None if it has none of this name."""
    done = tree.git(cache).run("cat-file", "blob", f"{tree.id}:{name}", check=False)
    return done.stdout if done.status == 0 else None


def kernel_version(tree: Tree, cache: Cache) -> str:
    """``6.12``: VERSION and PATCHLEVEL of a kernel's Makefile; empty if it does not say."""
    return ".".join(
        number.decode() for _, number in _VERSION.findall(read_file(tree, "Makefile", cache) or b"")
    )


def is_kernel(tree: Tree, cache: Cache) -> bool:
    """Whether a tree has what every kernel since 2.5 has at its top."""
    return read_file(tree, "Kconfig", cache) is not None


def missing_objects(tree: Tree, cache: Cache) -> int:
    """The number of objects that a tree wants and no store has, as in a partial clone."""
    done = tree.git(cache).run("rev-list", "--objects", "--missing=print", tree.id, check=False)
    return sum(line.startswith(b"?") for line in done.stdout.splitlines())
