# SPDX-License-Identifier: GPL-2.0-or-later
"""Trees of git, and diffs between them, for tests: in the form that git has them."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import cast

from guestloop.cache import Cache
from guestloop.sources import Tree

Files = Mapping[str, bytes | tuple[str, bytes]]
"""Content by name; ``("120000", b"target")`` or ``("100755", b"#!/bin/sh")`` for another mode than 100644."""


def make_tree(files: Files, cache: Cache) -> Tree:
    """A tree with these files, in a store of its own. No git is started: there are many of these."""
    store = Path(mkdtemp(dir=cache.root)) / "objects"
    top: dict[bytes, object] = {}
    for name, content in files.items():
        *directories, file = os.fsencode(name).split(b"/")
        below = top
        for directory in directories:
            below = cast("dict[bytes, object]", below.setdefault(directory, {}))
        below[file] = content if isinstance(content, tuple) else ("100644", content)
    return Tree(_write_tree(top, store), (store,))


def _write_tree(entries: Mapping[bytes, object], store: Path) -> str:
    """Write a tree and all below it. git sorts a directory as if its name ended in a slash."""
    rows = []
    for name, entry in entries.items():
        if isinstance(entry, dict):
            rows.append((name + b"/", b"40000 " + name, _write_tree(entry, store)))
        else:
            mode, data = cast("tuple[str, bytes]", entry)
            rows.append((name, mode.encode() + b" " + name, _write_object(b"blob", data, store)))
    return _write_object(
        b"tree", b"".join(b"%s\0%s" % (row, bytes.fromhex(id)) for _, row, id in sorted(rows)), store
    )


def _write_object(kind: bytes, data: bytes, store: Path) -> str:
    whole = b"%s %d\0%s" % (kind, len(data), data)
    id = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
    path = store / id[:2] / id[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zlib.compress(whole, 1))
    return id


def diff(old: Tree, new: Tree, cache: Cache, *options: str) -> bytes:
    """What ``git diff`` says of two trees."""
    git = replace(old.git(cache), stores=(*old.stores, *new.stores))
    return git.run("diff", "--binary", *options, old.id, new.id).stdout


def read_tree(tree: Tree, cache: Cache) -> dict[str, bytes]:
    """The content of all files of a tree."""
    git = tree.git(cache)
    rows = [row.split("\t", 1) for row in git.names("ls-tree", "-r", "-z", tree.id)]
    objects = "".join(f"{entry.split()[2]}\n" for entry, _name in rows)
    rest = git.run("cat-file", "--batch", stdin=objects.encode()).stdout
    files = {}
    for _entry, name in rows:
        header, _, rest = rest.partition(b"\n")
        size = int(header.split()[2])
        files[name], rest = rest[:size], rest[size + 1 :]
    return files
