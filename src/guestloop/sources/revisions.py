# SPDX-License-Identifier: GPL-2.0-or-later
"""Which two states of a repository ``A..B``, ``A...B``, ``A B`` and ``B`` compare."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from guestloop.ground.errors import ConfigError
from guestloop.ground.words import plural
from guestloop.sources.git import Git
from guestloop.sources.repositories import Repository, find_commit, shallow_hint

HEAD = "HEAD"

_RANGE = re.compile(r"(?P<base>.*?)(?P<dots>\.{2,3})(?P<tip>.*)")
_HASH = re.compile(r"[0-9a-f]{40}")
_ABBREVIATED = 12


@dataclass(frozen=True)
class End:
    """One of the two states: a ref as git takes it, and what to call it."""

    ref: str
    name: str


@dataclass(frozen=True)
class Ends:
    """What is compared, and in one line why it is these two."""

    reference: End
    candidate: End
    said: str


def find_ends(repository: Repository, revisions: Sequence[str], where: str) -> Ends:
    """What one range or one or two revisions compare.

    Raises ConfigError for a revision that is none, a range without commits, and ``A..B`` where B is not built
    on A: the difference of the two would then take back what A has on its own.
    """
    if len(revisions) == 2:
        first, second = (_end(repository, one, where) for one in revisions)
        return Ends(first, second, f"{second.ref} against {first.ref}, as they are")
    (text,) = revisions
    if not (match := _RANGE.fullmatch(text)):
        return _last_commit(repository, text, where)
    base, tip = (_end(repository, match[part] or HEAD, where) for part in ("base", "tip"))
    if match["dots"] == "...":
        return _since_merge_base(repository, base, tip, where)
    return _range(repository, base, tip, where)


def _end(repository: Repository, revision: str, where: str) -> End:
    find_commit(repository, revision, where)
    return End(revision, shorten(revision))


def shorten(revision: str) -> str:
    """A name for a revision: itself, or the beginning of a commit id."""
    return revision[:_ABBREVIATED] if _HASH.fullmatch(revision) else revision


def _last_commit(repository: Repository, revision: str, where: str) -> Ends:
    commit = find_commit(repository, revision, where)
    parents = repository.line("rev-list", "--parents", "--max-count=1", commit.id).split()[1:]
    if not parents:
        raise ConfigError(
            f"{where}: {revision} ({commit.id[:_ABBREVIATED]}) has no parent to compare it with",
            hint=shallow_hint(repository) or "name two revisions: --git TREE BASE..BRANCH",
        )
    reference = End(parents[0], f"{shorten(revision)}.parent")
    said = f"the last commit of {revision} alone, against its parent; a whole branch is BASE..{revision}"
    return Ends(reference, End(revision, shorten(revision)), said)


def _since_merge_base(repository: Repository, base: End, tip: End, where: str) -> Ends:
    done = Git().run("merge-base", base.ref, tip.ref, cwd=repository.path, check=False)
    found = done.stdout.decode().strip()
    if done.status != 0 or not found:
        raise ConfigError(
            f"{where}: {base.ref} and {tip.ref} have no common ancestor",
            hint=shallow_hint(repository) or f"two unrelated trees are compared as '{base.ref} {tip.ref}'",
        )
    commits = _count(repository, found, tip.ref)
    if not commits:
        raise _no_commits(repository, base, tip, where, "...")
    said = f"{plural(commits, 'commit')} of {tip.ref} since its merge base with {base.ref}"
    return Ends(End(found, f"{base.name}.merge-base"), tip, said)


def _range(repository: Repository, base: End, tip: End, where: str) -> Ends:
    commits = _count(repository, base.ref, tip.ref)
    if not commits:
        raise _no_commits(repository, base, tip, where, "..")
    words = ("merge-base", "--is-ancestor", base.ref, tip.ref)
    if Git().run(*words, cwd=repository.path, check=False).status != 0:
        own = _count(repository, tip.ref, base.ref)
        raise ConfigError(
            f"{where}: {base.ref} is not an ancestor of {tip.ref}: it has {plural(own, 'commit')} of its own",
            hint=shallow_hint(repository)
            or f"{base.ref}...{tip.ref} compares {tip.ref} with their merge base,"
            f" '{base.ref} {tip.ref}' the two as they are",
        )
    return Ends(base, tip, f"{plural(commits, 'commit')} of {base.ref}..{tip.ref}")


def _no_commits(repository: Repository, base: End, tip: End, where: str, dots: str) -> ConfigError:
    back = _count(repository, tip.ref, base.ref)
    other = f"; {tip.ref}..{base.ref} has {plural(back, 'commit')}" if back else ": they are the same commit"
    return ConfigError(
        f"{where}: no commits in {base.ref}{dots}{tip.ref}{other}",
        hint="the reference comes first: BASE..BRANCH",
    )


def _count(repository: Repository, base: str, tip: str) -> int:
    """The number of commits that the tip has and the base has not."""
    return int(repository.line("rev-list", "--count", f"^{base}", tip, "--"))
