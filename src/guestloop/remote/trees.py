# SPDX-License-Identifier: GPL-2.0-or-later
"""Trees of a git repository for the host: what is compared, without its history.

A commit goes as an entry of the cache with all objects of its tree (about 250 MB of Linux). What is compared
with it is a second one, which has the names of both and the objects that the first does not have. So for the
next change of a series only those are copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from guestloop.cache import Cache
from guestloop.config import BaseSpec
from guestloop.config.change import is_patch_name
from guestloop.ground.log import step
from guestloop.remote.request import WantedEntry
from guestloop.sources.git import Git
from guestloop.sources.repositories import Repository, find_commit, find_repository, require_complete
from guestloop.sources.revisions import HEAD
from guestloop.sources.trees import OBJECTS, Tree, git_directory, init
from guestloop.sources.worktree import snapshot

COMMIT_KIND, ENDS_KIND = "git-commit", "git-ends"  # of cache entries
FORMAT = 1
PACK_S = 30.0


@dataclass(frozen=True)
class NamedTree:
    """A base in a repository, and what the results call it."""

    name: str
    base: BaseSpec


@dataclass(frozen=True)
class Sent:
    """What stands for a repository on the host: entries, the last of which has it, and its refs in order."""

    entries: tuple[WantedEntry, ...]
    directory: str
    refs: tuple[str, ...]


@dataclass(frozen=True)
class _End:
    """A commit, or a work tree as one, with the stores that it is read from."""

    ref: str
    commit: str
    tree: str
    stores: tuple[Path, ...]


def send_trees(named: Sequence[NamedTree], cache: Cache) -> Sent:
    """Make entries for one or two bases in one repository. Raises ConfigError for what is not there."""
    first = named[0].base
    path = Path(first.location)
    repository = find_repository(path, first.option or "base")
    with _ends(repository, named, cache) as ends:
        reference, *others = ends
        commit = {"format": FORMAT, "commit": reference.commit}
        cache.obtain(COMMIT_KIND, commit, lambda into: _write_commit(into / "git", reference))
        both = {
            "format": FORMAT,
            "name": path.name,
            "base": reference.commit,
            "refs": {end.ref: end.commit for end in ends},
        }
        below = cache.path(COMMIT_KIND, commit).name
        cache.obtain(ENDS_KIND, both, lambda into: _write_ends(into / path.name, below, reference, others))
    entries = (WantedEntry(COMMIT_KIND, commit), WantedEntry(ENDS_KIND, both))
    return Sent(entries, path.name, tuple(end.ref for end in ends))


@contextmanager
def _ends(repository: Repository, named: Sequence[NamedTree], cache: Cache) -> Iterator[list[_End]]:
    """What is named, as commits; that of a work tree is written into a store that goes again."""
    clean = [one for one in named if not one.base.dirty]
    ends = [_committed(repository, one, cache) for one in clean]
    taken = [end.ref for end in ends]
    if len(set(taken)) < len(taken):  # two revisions of one name
        ends = [_End(end.commit, end.commit, end.tree, end.stores) for end in ends]
    if len(clean) == len(named):
        yield ends
        return
    with snapshot(repository, "--dirty", cache) as found:
        stores = (repository.objects,)
        git = Git(directory=git_directory(cache), objects=found.objects, stores=stores)
        commit = git.line("commit-tree", found.tree, "-m", "work tree")
        yield [*ends, _End(_ref(named[-1].name, commit), commit, found.tree, (found.objects, *stores))]


def _committed(repository: Repository, one: NamedTree, cache: Cache) -> _End:
    where = one.base.option or "base"
    commit = find_commit(repository, one.base.ref, where)
    stores = (repository.objects,)
    require_complete(repository, Tree(commit.tree, stores), cache)
    return _End(_ref(one.name, commit.id), commit.id, commit.tree, stores)


def _ref(name: str, commit: str) -> str:
    """A name for a commit that git, and a command line with ``--git``, takes for a revision."""
    known = Git().run("check-ref-format", f"refs/tags/{name}", check=False).status == 0
    return name if known and not is_patch_name(name) else commit


def _write_commit(directory: Path, end: _End) -> None:
    with step(f"packing the tree of {end.ref}", expect_s=PACK_S):
        _pack(_init_shallow(directory, [end]), directory, [end])


def _write_ends(directory: Path, below: str, reference: _End, others: Sequence[_End]) -> None:
    """``below`` is the key of the entry with the reference, which is found from beside it in any cache."""
    git = _init_shallow(directory, [reference, *others])
    objects = directory / OBJECTS
    (objects / "info").mkdir(exist_ok=True)
    (objects / "info/alternates").write_text(f"../../../../{COMMIT_KIND}/{below}/git/{OBJECTS}\n")
    if others:
        _pack(git, directory, others, without=reference)
    for end in (reference, *others):
        if end.ref != end.commit:
            name = HEAD if end.ref == HEAD else f"refs/tags/{end.ref}"
            git.run("update-ref", "--no-deref", name, end.commit)


def _init_shallow(directory: Path, ends: Sequence[_End]) -> Git:
    """A repository in which the history of some commits ends with them (gitrepository-layout: shallow)."""
    git = init(directory)
    (directory / "shallow").write_text("".join(f"{end.commit}\n" for end in ends))
    return git


def _pack(git: Git, directory: Path, ends: Sequence[_End], without: _End | None = None) -> None:
    """Write the objects of some commits, but those of another one."""
    revisions = [*(end.commit for end in ends), *([f"^{without.commit}"] if without else [])]
    stores = [store for end in (*ends, *([without] if without else [])) for store in end.stores]
    prefix = directory / OBJECTS / "pack/pack"
    prefix.parent.mkdir(parents=True, exist_ok=True)
    reading = replace(git, stores=tuple(dict.fromkeys(stores)))
    reading.run("pack-objects", "--revs", "-q", prefix, stdin="\n".join([*revisions, ""]).encode())
