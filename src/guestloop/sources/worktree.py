# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands in the work tree of a user's repository, committed or not.

The work tree and a copy of its index are looked at with a git directory of ours: no filter, hook or attribute
of the repository has a say, and neither its index nor its objects are written to. The copy keeps its
modification time, by which git tells which files may have changed since (racy-git in git's documentation).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from guestloop.cache import Cache, says_no_space
from guestloop.ground.errors import ConfigError, ProcessError
from guestloop.ground.words import plural
from guestloop.sources.git import Git
from guestloop.sources.repositories import Repository
from guestloop.sources.trees import git_directory, writing


@dataclass(frozen=True)
class Snapshot:
    """The tree of a work tree, the store of what is new in it, the commit below and what it adds to that."""

    tree: str
    objects: Path
    head: str
    changes: str


def count_changes(repository: Repository, commit: str, cache: Cache) -> str:
    """``3 files``: what a work tree changes of the commit it is on; empty for none, or another commit."""
    if not repository.has_worktree or _head(repository) != commit:
        return ""
    with TemporaryDirectory(prefix="guestloop-index-") as scratch:
        git = _look(repository, Path(scratch), cache)
        names = git.names("diff-index", "-z", "--name-only", commit)
    return plural(len(names), "file") if names else ""


@contextmanager
def snapshot(repository: Repository, where: str, cache: Cache) -> Iterator[Snapshot]:
    """The work tree as a tree: tracked files as they stand, and new ones that are not ignored.

    Raises ConfigError if there is no work tree, or a merge was left unfinished in it.
    """
    if not repository.has_worktree:
        raise ConfigError(f"{where}: git {repository.path} has no work tree")
    head = _head(repository)
    with cache.disk_errors(), cache.lock("tree-snapshot"):
        # Named as what Cache.obtain leaves after a kill, so that Cache.sweep removes it.
        scratch = cache.root / "tree" / ".snapshot.partial"
        if scratch.exists():
            shutil.rmtree(scratch)
        scratch.mkdir(parents=True)
        try:
            git = _look(repository, scratch, cache)
            _refuse_unmerged(git, repository, where)
            _take(git, repository, where)
            tree = git.line("write-tree")
            changed = git.names("diff-index", "--cached", "-z", "--name-only", head) if head else ()
            yield Snapshot(tree, scratch / "objects", head, f"changes to {plural(len(changed), 'file')}")
        finally:
            shutil.rmtree(scratch)


def _head(repository: Repository) -> str:
    done = Git().run("rev-parse", "--verify", "--quiet", "HEAD^{commit}", cwd=repository.path, check=False)
    return done.stdout.decode().strip()


def _look(repository: Repository, scratch: Path, cache: Cache) -> Git:
    """git on the work tree of a repository, with a copy of its index that knows what is unchanged."""
    index = scratch / "index"
    git = writing(
        Git(directory=git_directory(cache), worktree=repository.path, stores=(repository.objects,)),
        scratch / "objects",
        index,
    )
    # A split index is not all in its file. Then, and without an index, files are compared by content.
    if repository.index.is_file() and not any(repository.index.parent.glob("sharedindex.*")):
        shutil.copy2(repository.index, index)
    elif head := _head(repository):
        git.run("read-tree", head)
    git.run("update-index", "-q", "--refresh", cwd=repository.path, check=False)
    return git


def _refuse_unmerged(git: Git, repository: Repository, where: str) -> None:
    if unmerged := sorted({name.partition("\t")[2] for name in git.names("ls-files", "-u", "-z")}):
        raise ConfigError(
            f"{where}: git {repository.path}: a merge is unfinished: {', '.join(unmerged[:3])}",
            hint="resolve it, or take it back with 'git merge --abort' or 'git rebase --abort'",
        )


def _take(git: Git, repository: Repository, where: str) -> None:
    """Put what stands in the work tree into the index. Raises ConfigError for a file that cannot be read."""
    names = _changed(git, repository)
    gone = [name for name in names if _is_plain_directory(repository.path / os.fsdecode(name))]
    for options, some in (
        (("--force-remove",), gone),
        (("--add", "--remove", "--replace"), [name for name in names if name not in gone]),
    ):
        stdin = b"".join(name + b"\0" for name in some)
        words = ("update-index", *options, "-z", "--stdin")
        done = git.run(*words, stdin=stdin, cwd=repository.path, check=False)
        if says_no_space(done.stderr):
            raise ProcessError(done.argv, done.status, done.stderr)
        if done.status != 0:
            reason = done.stderr.strip().partition("\n")[0].removeprefix("error: ")
            raise ConfigError(f"{where}: git {repository.path}: its work tree cannot be read: {reason}")


def _is_plain_directory(path: Path) -> bool:
    """Where there was a file; a submodule stays what it is."""
    return path.is_dir() and not path.is_symlink() and not (path / ".git").exists()


def _changed(git: Git, repository: Repository) -> list[bytes]:
    """The names of files that differ from the index, are gone from the work tree or new there."""
    excludes = repository.common / "info/exclude"
    also = (f"--exclude-from={excludes}",) if excludes.is_file() else ()
    asked = ("ls-files", "-z", "--deleted", "--modified", "--others", "--exclude-standard", *also)
    names = git.run(*asked, cwd=repository.path).stdout.split(b"\0")
    # A repository inside of the work tree is named with a slash; it is no part of this one.
    return [name for name in dict.fromkeys(names) if name and not name.endswith(b"/")]
