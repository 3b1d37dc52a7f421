# SPDX-License-Identifier: GPL-2.0-or-later
"""Revisions of a repository: what ranges compare, and what a series says that it is made for."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from guestloop.ground.errors import ConfigError
from guestloop.sources import prerequisites
from guestloop.sources.prerequisites import find_base
from guestloop.sources.repositories import Repository, find_repository
from guestloop.sources.revisions import Ends, find_ends
from guestloop.sources.series import Series

GIT = ("git", "-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "commit.gpgSign=false")


class Tree:
    """A repository with a branch ``main`` of three commits, and ``topic`` of two after the first of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.git("init", "-q", "-b", "main", path)
        for name in ("one", "two", "three"):
            self.commit(name)
        self.git("checkout", "-q", "-b", "topic", "main~2")
        for name in ("four", "five"):
            self.commit(name)
        self.git("checkout", "-q", "main")

    def git(self, *arguments: str | Path, given: str = "") -> str:
        """What a git command prints in the repository."""
        words = [*GIT, *(() if "init" in arguments else ("-C", self.path)), *arguments]
        return subprocess.run(words, input=given, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, name: str) -> None:
        (self.path / name).write_text(f"{name}\n")
        self.git("add", ".")
        self.git("commit", "-q", "-m", name)

    def id(self, revision: str) -> str:
        return self.git("rev-parse", revision)

    def patch_id(self, revision: str) -> str:
        return self.git("patch-id", "--stable", given=self.git("show", revision)).split()[0]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return Tree(tmp_path_factory.mktemp("revisions") / "linux")


def ends(tree: Tree, *revisions: str) -> Ends:
    return find_ends(find_repository(tree.path, "--git linux"), revisions, "--git linux")


@pytest.mark.parametrize(
    ("revisions", "reference", "candidate", "said"),
    [
        (["main~2..main"], "main~2", "main", "2 commits of main~2..main"),
        (["main~1.."], "main~1", "HEAD", "1 commit of main~1..HEAD"),
        (["main...topic"], "main~2", "topic", "2 commits of topic since its merge base with main"),
        (["...topic"], "main~2", "topic", "2 commits of topic since its merge base with HEAD"),
        (["topic"], "topic~1", "topic", "the last commit of topic alone"),
        (["main", "topic"], "main", "topic", "topic against main, as they are"),
        (["topic", "main"], "topic", "main", "main against topic, as they are"),
    ],
)
def test_what_revisions_compare(
    tree: Tree, revisions: Sequence[str], reference: str, candidate: str, said: str
) -> None:
    found = ends(tree, *revisions)
    assert tree.id(found.reference.ref) == tree.id(reference)
    assert tree.id(found.candidate.ref) == tree.id(candidate)
    assert found.said.startswith(said)


def test_what_the_two_are_called(tree: Tree) -> None:
    commit = tree.id("topic")
    found = ends(tree, commit)
    assert (found.reference.name, found.candidate.name) == (f"{commit[:12]}.parent", commit[:12])
    assert ends(tree, "main...topic").reference.name == "main.merge-base"


@pytest.mark.parametrize(
    ("revisions", "message", "hint"),
    [
        (["main..main"], "no commits in main..main: they are the same commit", "BASE..BRANCH"),
        (["main..main~1"], "no commits in main..main~1; main~1..main has 1 commit", "BASE..BRANCH"),
        (["main...main~1"], "no commits in main...main~1; main~1..main has 1 commit", "BASE..BRANCH"),
        (
            ["main..topic"],
            "main is not an ancestor of topic: it has 2 commits of its own",
            "main...topic compares topic with their merge base, 'main topic' the two as they are",
        ),
        (["main~2"], "has no parent to compare it with", "BASE..BRANCH"),
        (["main..tpoic"], "ref 'tpoic': ", ""),
        (["nothing"], "ref 'nothing': ", ""),
        (["main:one"], "ref 'main:one': ", ""),
    ],
)
def test_revisions_that_compare_nothing(tree: Tree, revisions: list[str], message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ends(tree, *revisions)
    assert str(raised.value).startswith("--git linux: ") and message in str(raised.value)
    assert hint in raised.value.hint


def test_branches_without_a_common_ancestor(tree: Tree) -> None:
    tree.git("branch", "-f", "alone", tree.git("commit-tree", "-m", "alone", "main^{tree}"))
    with pytest.raises(ConfigError, match=r"main and alone have no common ancestor") as raised:
        ends(tree, "main...alone")
    assert raised.value.hint == "two unrelated trees are compared as 'main alone'"


def test_a_shallow_clone_says_that_it_is_one(tree: Tree, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    tree.git("clone", "-q", "--depth=1", f"file://{tree.path}", clone)
    with pytest.raises(ConfigError, match="has no parent") as raised:
        find_ends(find_repository(clone, "--git clone"), ["main"], "--git clone")
    assert raised.value.hint == "the clone is shallow: git fetch --unshallow"
    with pytest.raises(ConfigError, match="ref 'main~1'") as raised:
        find_ends(find_repository(clone, "--git clone"), ["main~1..main"], "--git clone")
    assert raised.value.hint == "the clone is shallow: git fetch --unshallow"


def test_a_file_with_the_name_of_no_revision(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fix").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="ref 'fix'") as raised:
        ends(tree, "fix")
    assert raised.value.hint == "a file of this name is ./fix"


def test_a_branch_that_looks_like_the_id_of_a_commit(tree: Tree) -> None:
    tree.git("branch", "-f", "cafebabecafebabe", "topic")
    assert ends(tree, "cafebabecafebabe").candidate.name == "cafebabecafebabe"


# --- what a series is made for ---------------------------------------------------------------------


@pytest.fixture
def repository(tree: Tree) -> Repository:
    return find_repository(tree.path, "--git linux")


def test_a_series_goes_on_its_base_commit_where_that_is_there(tree: Tree, repository: Repository) -> None:
    base = tree.id("topic~1")
    assert find_base(repository, Series()) == ("HEAD", ())
    assert find_base(repository, Series(base_commit=base)) == (
        base,
        (f"base-commit {base[:12]} is taken, as the series says",),
    )
    found, notes = find_base(repository, Series(base_commit="1" * 40))
    assert found == "HEAD" and notes[0].startswith("base-commit 111111111111 is not in ")


def test_prerequisites_that_were_applied_since(tree: Tree, repository: Repository) -> None:
    """HEAD is main: one, two, three."""
    series = Series(base_commit=tree.id("main~2"), prerequisites=(tree.patch_id("main~1"),))
    found, (note,) = find_base(repository, series)
    assert found == tree.id("main~1")
    assert note.endswith("with all prerequisites of the series")


def test_prerequisites_on_two_branches_are_all_in_head(tree: Tree) -> None:
    base = tree.id("main~2")
    wanted = (tree.patch_id("main"), tree.patch_id("topic"))
    tree.git("checkout", "-q", "-b", "merged", "main")
    tree.git("merge", "-q", "--no-edit", "topic")
    found, _ = find_base(find_repository(tree.path, "x"), Series(base_commit=base, prerequisites=wanted))
    tree.git("checkout", "-q", "main")
    assert found == "HEAD"


def test_a_prerequisite_that_is_not_there_is_told(
    tree: Tree, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tree.id("main~2")
    series = Series(base_commit=base, prerequisites=(tree.patch_id("main~1"), "2" * 40))
    found, (_, note) = find_base(repository, series)
    assert found == base and note.startswith("1 prerequisite patch of the series not found in ")
    assert "(222222222222)" in note
    monkeypatch.setattr(prerequisites, "SEARCHED", 1)
    found, (_, note) = find_base(repository, series)
    assert found == base and note.startswith("2 prerequisite patches of the series not found")
