# SPDX-License-Identifier: GPL-2.0-or-later
"""Find the base of a kernel, and its tree: of a Debian package, a tarball or a git repository."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from guestloop.cache import Cache, content_key
from guestloop.cache.digests import remembered_digest
from guestloop.config import BaseKind, BaseSpec
from guestloop.debian.installed import query_installed
from guestloop.ground import proc
from guestloop.ground.errors import ConfigError, LabError
from guestloop.ground.log import step
from guestloop.sources import repositories, tarball, worktree
from guestloop.sources.repositories import Repository
from guestloop.sources.trees import OBJECTS, Tree, init, is_kernel, kernel_version

TREE_KIND = "tree"  # of cache entries
_ID = "tree"
_FORMAT = 1


@dataclass(frozen=True)
class Source:
    """The base of a kernel on this machine.

    ``tree`` is what it is, whoever names it. ``identity`` says where it comes from, for the record. ``work``
    names the work area for kernels of this base (tree.py), and ``notes`` are for the user.
    """

    description: str
    identity: Mapping[str, str]
    tree: Tree
    work: str
    notes: tuple[str, ...] = ()


def find_source(base: BaseSpec, where: str, cache: Cache) -> Source:
    """Find a base; a tarball that is new is read into the cache, which takes most of a minute.

    Raises ConfigError for a path or ref that does not exist or is not a kernel's source, LabError for a
    package that is not installed.
    """
    location = base.location
    if base.kind is BaseKind.GIT:
        return _find_git(Path(location), base, where, cache)
    if base.kind is BaseKind.TARBALL:
        return _imported(find_tarball(Path(location), where, cache), cache)
    return _imported(find_debian(location, where), cache)


@dataclass(frozen=True)
class Tarball:
    """A tarball with a kernel's source: what it is called, what identifies its content, and where it is."""

    description: str
    identity: Mapping[str, str]
    path: Path


def find_debian(package: str, where: str) -> Tarball:
    """Find the tarball of a Debian source package. dpkg knows its version and checksum without reading it."""
    hint = f"on a machine without dpkg, use 'tarball' or 'git' in {where}"
    (version,) = query_installed(package, "Version", what=f"{where}: package", hint=hint)
    for line in proc.read(["dpkg-query", "--control-show", package, "md5sums"]).lines:
        md5, _, name = line.partition("  ")
        if Path(name).parent == Path("usr/src") and Path(name).name.startswith(f"{package}.tar"):
            identity = {"package": package, "version": version, "md5": md5}
            return Tarball(f"{package} {version}", identity, Path("/") / name)
    raise LabError(f"{where}: package {package} {version} has no usr/src/{package}.tar.*")


def find_tarball(path: Path, where: str, cache: Cache) -> Tarball:
    """Find a tarball. Raises ConfigError if it is not there."""
    if not path.is_file():
        raise ConfigError(f"{where}: no such tarball: {path}")
    return Tarball(path.name, {"sha256": remembered_digest(path, cache)}, path)


def _imported(source: Tarball, cache: Cache) -> Source:
    """The source in a tarball, read into the cache if it is new."""
    tree = _obtain(source.identity, lambda entry: _import(source, entry, cache), cache)
    return Source(source.description, source.identity, tree, content_key(source.identity)[:12])


def _import(source: Tarball, entry: Path, cache: Cache) -> None:
    if not source.path.is_file():
        raise LabError(
            f"no such kernel source: {source.path}",
            hint="was its package only partly removed? Install it again",
        )
    with step(f"read {source.description} into git", expect_s=tarball.EXPECT_S):
        found = tarball.import_tarball(source.path, init(entry))
    _require_kernel(Tree(found, (entry / OBJECTS,)), source.description, source.path, cache)
    (entry / _ID).write_text(found)


def _obtain(identity: Mapping[str, str], make: Callable[[Path], None], cache: Cache) -> Tree:
    entry = cache.obtain(TREE_KIND, {"format": _FORMAT, **identity}, make)
    return Tree((entry / _ID).read_text(), (entry / OBJECTS,))


def _require_kernel(tree: Tree, description: str, location: Path, cache: Cache) -> None:
    if not is_kernel(tree, cache):
        raise ConfigError(f"{description}: {location} is not a kernel source: it has no top-level Kconfig")


def _find_git(path: Path, base: BaseSpec, where: str, cache: Cache) -> Source:
    """A git repository is read where it is, and nothing is written to it."""
    repository = repositories.find_repository(path, where)
    if base.dirty:
        return _find_dirty(repository, where, cache)
    commit = repositories.find_commit(repository, base.ref, where)
    tree = Tree(commit.tree, (repository.objects,))
    description = f"git {path.name} {base.ref} ({commit.id[:12]})"
    notes = commit.notes
    if changed := worktree.count_changes(repository, commit.id, cache):
        notes += (f"{path}: uncommitted changes to {changed} are not part of {base.ref}",)
    return _of_repository(description, {"commit": commit.id}, repository, tree, notes, cache)


def _find_dirty(repository: Repository, where: str, cache: Cache) -> Source:
    """What stands in a work tree, committed or not. What is ignored there is left out."""
    with worktree.snapshot(repository, where, cache) as taken:
        identity = {"worktree": taken.tree}

        def make(entry: Path) -> None:
            taken.objects.rename(entry / OBJECTS)
            (entry / _ID).write_text(taken.tree)

        own = _obtain(identity, make, cache)
    tree = Tree(own.id, (*own.stores, repository.objects))
    description = f"git {repository.path.name} work tree ({taken.head[:12]} and {taken.changes})"
    return _of_repository(description, {"head": taken.head}, repository, tree, (), cache)


def _of_repository(
    description: str,
    identity: Mapping[str, str],
    repository: Repository,
    tree: Tree,
    notes: tuple[str, ...],
    cache: Cache,
) -> Source:
    """A base in a repository. Kernels of one version share a work area, so that two refs of a branch do."""
    repositories.require_complete(repository, tree, cache)
    _require_kernel(tree, description, repository.path, cache)
    area = {"repository": str(repository.common), "version": kernel_version(tree, cache)}
    described = {"repository": str(repository.path), **identity}
    return Source(description, described, tree, content_key(area)[:12], notes)
