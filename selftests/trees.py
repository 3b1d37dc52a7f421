# SPDX-License-Identifier: GPL-2.0-or-later
"""Trees of git, and diffs between them, for tests: made by git itself, without a repository to clone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

from guestloop.cache import Cache
from guestloop.sources import Tree
from guestloop.sources.git import Git
from guestloop.sources.trees import git_directory, writing

Files = Mapping[str, bytes | tuple[str, bytes]]
"""Content by name; ``("120000", b"target")`` or ``("100755", b"#!/bin/sh")`` for another mode than 100644."""


def make_tree(files: Files, cache: Cache) -> Tree:
    """A tree with these files, in a store of its own."""
    place = Path(mkdtemp(dir=cache.root))
    git = writing(Git(directory=git_directory(cache)), place / "objects", place / "index")
    lines = []
    for name, content in files.items():
        mode, data = content if isinstance(content, tuple) else ("100644", content)
        blob = git.run("hash-object", "-w", "--stdin", "--no-filters", stdin=data).stdout.strip()
        lines.append(b"%s %s\t%s\0" % (mode.encode(), blob, os.fsencode(name)))
    git.run("update-index", "-z", "--index-info", stdin=b"".join(lines))
    return Tree(git.line("write-tree"), (place / "objects",))


def diff(old: Tree, new: Tree, cache: Cache, *options: str) -> bytes:
    """What ``git diff`` says of two trees."""
    git = replace(old.git(cache), stores=(*old.stores, *new.stores))
    return git.run("diff", "--binary", *options, old.id, new.id).stdout


def read_tree(tree: Tree, cache: Cache) -> dict[str, bytes]:
    """The content of all files of a tree."""
    git = tree.git(cache)
    names = git.names("ls-tree", "-r", "-z", "--name-only", tree.id)
    return {name: git.run("cat-file", "blob", f"{tree.id}:{name}").stdout for name in names}
