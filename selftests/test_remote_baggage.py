# SPDX-License-Identifier: GPL-2.0-or-later
"""What the words of a command line name is the same on the host: kernels, series, trees, configurations."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from test_change_specs import PATCH
from test_remote_there import Ends
from test_revisions import Tree

from guestloop import cli
from guestloop.cache import Cache
from guestloop.config import BaseKind, KernelSpec
from guestloop.ground.errors import ConfigError
from guestloop.job.change import change_specs
from guestloop.job.options import Options, chosen_profile, load_kernels
from guestloop.remote import baggage as module
from guestloop.remote.baggage import Baggage, collect, limit_words
from guestloop.remote.request import Request
from guestloop.remote.shipping import answer
from guestloop.remote.there.results import read_pieces
from guestloop.remote.there.runs import Place, Run
from guestloop.remote.wire import FILES_WANTED
from guestloop.sources import Source, find_source, read_series

DATA = Path(__file__).with_name("data") / "kernels"
CONFIG = "CONFIG_X86_64=y\nCONFIG_KVM=m\n"


def options(words: Sequence[str]) -> Options:
    return cli._options(cli._parse(("run", *words)))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without anything of his own, in a directory of his own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / "home/work").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "home/work")
    return tmp_path / "home"


@dataclass(frozen=True)
class Moved:
    """Options here, and those that the words over there make, beside what they name."""

    here: Options
    there: Options
    run: Run
    ours: Cache
    theirs: Cache

    def specs(self) -> tuple[list[KernelSpec], list[KernelSpec]]:
        """The kernels of a change, here and there."""
        assert self.here.change and self.there.change
        here = list(change_specs(self.here.change, self.ours))
        with chdir(self.run.files):
            return here, list(change_specs(self.there.change, self.theirs))

    def sources(self) -> tuple[list[Source], list[Source]]:
        """Their bases."""
        here, there = self.specs()
        return (
            [find_source(spec.base, "here", self.ours) for spec in here],
            [find_source(spec.base, "there", self.theirs) for spec in there],
        )


class Mover:
    """Takes a command line to a host in this process."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, caches: Path | None = None) -> None:
        caches = caches or directory
        self.ours, self.theirs = Cache(caches / "ours"), Cache(caches / "theirs")
        self._patch = monkeypatch
        self._ends = Ends(Place(directory / "host", directory / "checkout"))
        monkeypatch.setenv("GUESTLOOP_CACHE", str(self.theirs.root))

    def lay(self, baggage: Baggage) -> Run:
        wire = self._ends.start("lay", baggage.request)
        assert wire.receive() == {FILES_WANTED: True}
        for file in baggage.request.files:
            content = baggage.contents[file.name]
            wire.send_stream([content] if isinstance(content, bytes) else read_pieces(content))
        answer(wire, self.ours, lambda _shown: None)
        return self._ends.place.run(baggage.request.run)

    def move(self, *words: str) -> Moved:
        here = options(words)
        run = self.lay(collect(here, self.ours))
        self._patch.setenv("XDG_CONFIG_HOME", str(run.settings))
        with chdir(run.files):
            there = options(run.request().words)
        return Moved(here, there, run, self.ours, self.theirs)


@pytest.fixture
def mover(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Mover:
    return Mover(tmp_path, monkeypatch)


def request(*words: str, cache: Cache) -> Request:
    return collect(options(words), cache).request


# --- plain words ---


def test_words_that_mean_the_same_everywhere(mover: Mover) -> None:
    words = (
        *("--profile", "smoke", "--accel", "tcg", "--tests", "asyncpf,aging", "--mmu", "shadow"),
        *("--budget", "20m", "--expect", "async_page_ready:fewer", "--labs", "1", "--no-wait", "--verbose"),
    )
    moved = mover.move(*words)
    names = ("profile", "accel", "tests", "mmu", "budget_s", "expect", "labs", "wait", "verbose", "kernels")
    for name in names:
        assert getattr(moved.there, name) == getattr(moved.here, name), name
    assert list(limit_words(options(("--rounds", "3")))) == ["--rounds", "3"]
    assert list(limit_words(options(()))) == []


def test_every_option_goes_along() -> None:
    """One that is new has to be in baggage.py too, or it would be forgotten on the way."""
    what = {"profile", "kernels", "change", "expect", "tests", "mmu", "accel"}
    how = {"rounds", "budget_s", "labs", "wait", "verbose"}
    here = {"out", "arguments"}
    assert {field.name for field in fields(Options)} == what | how | here


def test_two_runs_of_the_same_words_are_the_same(home: Path, cache: Cache) -> None:
    Path("fix.patch").write_text(PATCH)
    first, again = (request("fix.patch", cache=cache) for _ in range(2))
    assert first.run != again.run and first.identity == again.identity
    assert request("fix.patch", "--rounds", "1", cache=cache).identity != first.identity
    Path("fix.patch").write_text(PATCH.replace("uno", "eins"))
    assert request("fix.patch", cache=cache).identity != first.identity


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--profile", "smok"], "unknown profile 'smok'"),
        (["--tests", "none"], "none"),
        (["--kernels", "unpatched"], "two or more kernels"),
        (["--kernels", "unpatched,gone.deb"], "gone.deb: no such file"),
        (["--kernels", "unpatched,running"], "--host: --kernels running: a kernel of this machine"),
        (["--kernels", "unpatched,./linux"], "--host: --kernels ./linux: a kernel of this machine"),
        (["--kernels", "unpatched,/boot/vmlinuz-6.1"], "a kernel of this machine"),
        (["empty.patch"], "the file is empty"),
    ],
)
def test_what_is_wrong_is_told_here(home: Path, cache: Cache, words: list[str], message: str) -> None:
    Path("empty.patch").touch()
    with pytest.raises(ConfigError, match=message):
        collect(options(words), cache)


# --- patches ---


def test_patches_of_the_same_name(mover: Mover) -> None:
    for name, text in (("a", PATCH), ("b", PATCH.replace("one", "two"))):
        Path(name).mkdir()
        Path(name, "fix it.patch").write_text(text)
    moved = mover.move("a/fix it.patch", "b/fix it.patch")
    here, there = moved.specs()
    assert [spec.name for spec in there] == [spec.name for spec in here] == ["unpatched", "fix-it"]
    sums = [[patch.sha256 for patch in read_series(spec.series).patches] for spec in (here[1], there[1])]
    assert sums[0] == sums[1] and len(sums[0]) == 2
    assert [str(path.relative_to(moved.run.files)) for path in there[1].series] == [
        "fix it.patch",
        "2/fix it.patch",
    ]


def test_a_folder_and_a_quilt_series(mover: Mover) -> None:
    Path("patches").mkdir()
    Path("patches/1.patch").write_text(PATCH)
    Path("patches/series").write_text("1.patch\n")
    for word in ("patches", "patches/series"):
        here, there = mover.move(word).specs()
        assert [spec.name for spec in there] == [spec.name for spec in here]
        assert read_series(there[1].series).names == read_series(here[1].series).names == ("1.patch",)


def test_a_folder_that_is_none_of_patches(home: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("all").mkdir()
    Path("all/1.patch").write_text(PATCH)
    Path("all/disk").write_bytes(b"x" * 5000)
    monkeypatch.setattr(module, "LARGEST_FOLDER", 4096)
    with pytest.raises(ConfigError, match=r"all: 2 files, .* too large for a folder of patches"):
        collect(options(["all"]), cache)


# --- kernels ---


def test_kernels_of_the_checkout_and_of_packages_go_by_name(home: Path, cache: Cache) -> None:
    words = ("--kernels", "unpatched,patched,deb:newest-cloud-amd64@sid")
    asked = request(*words, cache=cache)
    assert asked.words[:2] == words and asked.files == ()


def test_files_of_packages(mover: Mover) -> None:
    for name in ("a_1_amd64.deb", "b.deb"):
        Path(name).write_text(name)
    Path("sub").mkdir()
    Path("sub/a_1_amd64.deb").write_text("another")
    moved = mover.move("--kernels", "a_1_amd64.deb+b.deb,sub/a_1_amd64.deb")
    here, there = load_kernels(moved.here.kernels), moved.there.kernels
    with chdir(moved.run.files):
        files = [path.read_text() for spec in load_kernels(there) for path in spec.files]  # type: ignore[union-attr]
        assert [spec.name for spec in load_kernels(there)] == [spec.name for spec in here]
    assert files == ["a_1_amd64.deb", "b.deb", "another"]


def test_a_kernel_of_the_user(mover: Mover, home: Path) -> None:
    own = home / ".config/guestloop/kernels"
    own.mkdir(parents=True)
    (own / "fix.patch").write_text(PATCH)
    (own / "more.config").write_text("CONFIG_EXPERT=y\n")
    (own / "source.tar").write_text("not read here")
    (own / "mine.yaml").write_text(
        "like: unpatched\nconfig: [more.config]\nseries: [fix.patch]\ndescription: 'mine: it''s #1'\n"
        "reach: {mmu: [shadow], because: why not}\nexpect: {async_page_ready: fewer}\n"
    )
    (own / "other.yaml").write_text("like: mine\nbase: {tarball: source.tar}\n")
    here = load_kernels(("unpatched", "mine", "other"))
    moved = mover.move("--kernels", "unpatched,mine,other")
    with chdir(moved.run.files):
        there = load_kernels(moved.there.kernels)
    for ours, theirs in zip(here, there, strict=True):
        assert isinstance(ours, KernelSpec) and isinstance(theirs, KernelSpec)
        for name in ("name", "description", "reach", "expect"):
            assert getattr(theirs, name) == getattr(ours, name)
        texts = [[path.read_text() for path in spec.config] for spec in (ours, theirs)]
        assert texts[0] == texts[1] and texts[0]
        assert read_series(theirs.series).names == read_series(ours.series).names
    assert isinstance(there[1], KernelSpec) and isinstance(there[2], KernelSpec)
    assert there[1].base.kind is BaseKind.DEBIAN_SOURCE
    assert Path(there[2].base.location).read_text() == "not read here"
    assert moved.run.files in Path(there[2].base.location).parents


def test_the_profiles_of_the_user(mover: Mover, home: Path) -> None:
    (home / ".config/guestloop").mkdir(parents=True)
    (home / ".config/guestloop/profiles.yaml").write_text(
        "mine: {description: one, rounds: 3, cells: [{test: asyncpf, mmu: [tdp]}]}\n"
    )
    moved = mover.move("--profile", "mine")
    assert chosen_profile(moved.there) == chosen_profile(moved.here)


# --- trees of git ---


@pytest.fixture(scope="module")
def linux(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A repository whose commits have the files of the stand-in for a kernel."""
    path = tmp_path_factory.mktemp("git") / "linux"
    shutil.copytree(DATA / "tiny", path)
    return Tree(path)


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of both ends: what is in them need not be made again."""
    return tmp_path_factory.mktemp("caches")


@pytest.fixture
def next_mover(tmp_path: Path, home: Path, caches: Path, monkeypatch: pytest.MonkeyPatch) -> Mover:
    return Mover(tmp_path, monkeypatch, caches)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["main~1..main"], [None, "main"]),
        (["main...topic"], ["main.merge-base", "topic"]),
        (["topic"], ["topic.parent", "topic"]),
        (["HEAD", "topic"], ["HEAD", "topic"]),
        (["--dirty"], ["HEAD", "linux-dirty"]),
        (["fix.patch"], ["HEAD", "fix"]),
        (["topic", "fix.patch"], ["topic", "fix"]),
        (["topic", "--config-a", ".config", "--config-b", "b.config"], ["work", "b"]),
    ],
)
def test_commits_and_work_trees(
    next_mover: Mover, linux: Tree, words: list[str], names: list[str | None]
) -> None:
    Path("fix.patch").write_text(PATCH)
    for name in (".config", "b.config"):
        Path(name).write_text(CONFIG)
    (linux.path / "one").write_text("changed\n" if "--dirty" in words else "one\n")
    moved = next_mover.move("--git", str(linux.path), *words)
    here, there = moved.specs()
    # A revision like main~1 is no name for a ref: its commit is.
    wanted = [name or linux.id(spec.base.ref)[:12] for name, spec in zip(names, here, strict=True)]
    assert [spec.name for spec in there] == wanted
    trees = [[source.tree.id for source in sources] for sources in moved.sources()]
    assert trees[0] == trees[1]
    assert len(set(trees[1])) == (1 if here[1].series or here[1].whole_config else 2)
    # No history goes with it.
    (link,) = (path for path in moved.run.files.iterdir() if path.name == "linux")
    assert linux.git("-C", str(link.resolve()), "rev-list", "--count", "--all") in ("1", "2")


def test_the_next_change_takes_the_base_that_is_there(mover: Mover, linux: Tree) -> None:
    first = mover.move("--git", str(linux.path), "main~1..main")
    kept = mover.theirs.root / "git-commit"
    assert len(list(kept.iterdir())) == 1
    second = mover.move("--git", str(linux.path), "main~1", "topic")
    assert len(list(kept.iterdir())) == 1
    assert len(list((mover.theirs.root / "git-ends").iterdir())) == 2
    assert first.sources()[1][0].tree.id == second.sources()[1][0].tree.id


def test_a_kernel_whose_base_is_a_tree(mover: Mover, linux: Tree) -> None:
    Path("mine.yaml").write_text(
        f"description: mine\nbase: {{git: {linux.path}, ref: main}}\nconfig: []\nseries: []\n"
    )
    moved = mover.move("--kernels", "unpatched,mine.yaml")
    with chdir(moved.run.files):
        spec = load_kernels(moved.there.kernels)[1]
    assert isinstance(spec, KernelSpec) and (spec.name, spec.base.ref) == ("mine", "main")
    found = find_source(spec.base, "there", moved.theirs)
    assert found.tree.id == linux.id("main^{tree}")
    assert found.description == f"git linux main ({linux.id('main')[:12]})"


@pytest.mark.parametrize("words", [["--git", "gone", "a..b"], ["--git", ".", "a..b"]])
def test_a_tree_that_is_not_there(home: Path, cache: Cache, words: list[str]) -> None:
    with pytest.raises(ConfigError, match="--git"):
        collect(options(words), cache)
