# SPDX-License-Identifier: GPL-2.0-or-later
"""What a series says it is made for: ``base-commit:`` and ``prerequisite-patch-id:`` of its trailers."""

from __future__ import annotations

from guestloop.ground.words import plural
from guestloop.sources.git import Git
from guestloop.sources.repositories import Repository, has_commit
from guestloop.sources.revisions import HEAD
from guestloop.sources.series import Series

SEARCHED = 1000
"""Commits on top of the base commit that are searched for prerequisites: each is read as a diff."""


def find_base(repository: Repository, series: Series) -> tuple[str, tuple[str, ...]]:
    """The ref that a series goes on top of in a repository, and why, one line each.

    It is the base commit if it is there, or the last of the prerequisites that were applied to it since; else
    HEAD. A prerequisite that is not found is told, and left out: the series may fit without.
    """
    base = series.base_commit
    if not base:
        return HEAD, ()
    if not has_commit(repository.path, base):
        return HEAD, (f"base-commit {base[:12]} is not in {repository.path}: HEAD is taken",)
    notes = [f"base-commit {base[:12]} is taken, as the series says"]
    wanted = set(series.prerequisites)
    if not wanted:
        return base, tuple(notes)
    found = {patch: commit for patch, commit in _patches_since(repository, base) if patch in wanted}
    if missing := wanted - found.keys():
        lacking = ", ".join(sorted(one[:12] for one in missing))
        notes.append(
            f"{plural(len(missing), 'prerequisite patch', 'prerequisite patches')} of the series not found in"
            f" {repository.path} since then ({lacking}): the series is applied without"
        )
        return base, tuple(notes)
    last = _above_all(repository, list(found.values()))
    return last, (f"{last[:12]} is taken: base-commit {base[:12]} with all prerequisites of the series",)


def _above_all(repository: Repository, commits: list[str]) -> str:
    """The last of these commits if it stands on all others, as in one branch; else HEAD, where all are."""
    *others, last = commits
    asked = (("merge-base", "--is-ancestor", other, last) for other in others)
    reached = all(Git().run(*words, cwd=repository.path, check=False).status == 0 for words in asked)
    return last if reached else HEAD


def _patches_since(repository: Repository, base: str) -> list[tuple[str, str]]:
    """Patch ids and commits from a commit to HEAD, the oldest first; none if there are too many to read."""
    span = f"{base}..{HEAD}"
    if int(repository.line("rev-list", "--count", "--no-merges", span)) > SEARCHED:
        return []
    options = ("--no-merges", "--reverse", "--topo-order", "--no-textconv", "--no-ext-diff", "--full-index")
    log = Git().run("log", "-p", *options, span, cwd=repository.path).stdout
    ids = Git().run("patch-id", "--stable", cwd=repository.path, stdin=log).stdout.decode()
    return [(patch, commit) for patch, _, commit in (line.partition(" ") for line in ids.splitlines())]
