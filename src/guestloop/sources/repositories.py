# SPDX-License-Identifier: GPL-2.0-or-later
"""Git repositories of the user: read in place, whoever they belong to, and never written to."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from guestloop.cache import Cache
from guestloop.ground.errors import ConfigError
from guestloop.sources.git import Git
from guestloop.sources.trees import Tree, missing_objects


@dataclass(frozen=True)
class Repository:
    """A repository as git finds it at ``path``: a clone, a linked work tree or a bare repository.

    ``objects`` and ``index`` are where git has them, ``common`` is the directory that all its work trees
    share. ``has_worktree`` is false for a bare one.
    """

    path: Path
    objects: Path
    index: Path
    common: Path
    has_worktree: bool

    def line(self, *args: str) -> str:
        """The line that a git command prints here."""
        return Git().line(*args, cwd=self.path)


@dataclass(frozen=True)
class Commit:
    """What a ref stands for: ids of the commit and its tree, and what git had to say about the ref."""

    id: str
    tree: str
    notes: tuple[str, ...]


def find_repository(path: Path, where: str) -> Repository:
    """Find the repository whose top is at ``path``.

    One further up is not looked for: a source that lies unpacked somewhere below a repository is not part of
    it. Raises ConfigError if there is none, or none whose objects can be read with ours.
    """
    if not path.is_dir():
        raise ConfigError(f"{where}: no such directory: {path}")
    if not os.access(path, os.R_OK | os.X_OK):
        raise ConfigError(f"{where}: {path}: {os.strerror(errno.EACCES)}")
    asked = ("--is-inside-work-tree", "--git-common-dir", "--git-path", "objects", "--git-path", "index")
    done = Git().run("rev-parse", "--show-object-format", *asked, cwd=path, check=False)
    if done.status != 0:
        raise ConfigError(
            f"{where}: {path} is not the top of a git repository",
            hint=f"name the directory that has .git in it; git says: {done.stderr.strip()}",
        )
    form, inside, *places = os.fsdecode(done.stdout).splitlines()
    if form != "sha1":
        raise ConfigError(f"{where}: {path}: objects are named by {form}; only sha1 is supported")
    common, objects, index = (Path(os.path.normpath(path / place)) for place in places)
    return Repository(path, objects, index, common.resolve(), inside == "true")


def find_commit(repository: Repository, ref: str, where: str) -> Commit:
    """Find the commit that a ref names. Raises ConfigError if there is none."""

    def refused(reason: str) -> ConfigError:
        hint = shallow_hint(repository) or (f"a file of this name is ./{ref}" if Path(ref).is_file() else "")
        return ConfigError(f"{where}: git {repository.path}: ref {ref!r}: {reason}", hint=hint)

    done = Git().run("rev-parse", "--verify", "--end-of-options", ref, cwd=repository.path, check=False)
    said, id = done.stderr.strip(), done.stdout.decode().strip()
    if done.status != 0 or not ref or id.startswith("^"):
        raise refused(said.rpartition("\n")[2].removeprefix("fatal: ") or "not a ref of this repository")
    kinds = (f"{id}^{{{kind}}}" for kind in ("commit", "tree"))
    done = Git().run("rev-parse", *kinds, cwd=repository.path, check=False)
    if done.status != 0:
        raise refused("not a commit of this repository")
    commit, tree = done.stdout.decode().split()
    return Commit(commit, tree, (said,) if said else ())  # that it is ambiguous


def shallow_hint(repository: Repository) -> str:
    """A hint where history ends early, because the clone was made so."""
    if repository.line("rev-parse", "--is-shallow-repository") == "true":
        return "the clone is shallow: git fetch --unshallow"
    return ""


def has_commit(path: Path, commit: str) -> bool:
    """Whether the repository at ``path`` has this commit, as a ``base_commit``; false if there is none."""
    done = Git().run("cat-file", "-e", f"{commit}^{{commit}}", cwd=path, check=False)
    return done.status == 0


def require_complete(repository: Repository, tree: Tree, cache: Cache) -> None:
    """Raise ConfigError if a partial clone lacks objects of a tree: nothing is fetched here."""
    if not any((repository.objects / "pack").glob("*.promisor")):
        return
    if missing := missing_objects(tree, cache):
        raise ConfigError(
            f"git {repository.path}: a partial clone without {missing} objects of the tree {tree.id[:12]}",
            hint="check the ref out once, which fetches them: git worktree add --detach DIRECTORY REF",
        )
