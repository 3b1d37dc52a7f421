# SPDX-License-Identifier: GPL-2.0-or-later
"""The checkout of a base: moved from tree to tree, and right whatever was left in it."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from trees import Files, diff, make_tree

from guestloop.cache import Cache
from guestloop.ground.errors import LabError, NotApplied, ProcessError
from guestloop.kernels.tree import WorkTree
from guestloop.sources import Tree, apply_to_tree, read_series

NUMBERS = b"".join(b"line %d\n" % number for number in range(60))
BASE: Files = {
    "Makefile": b"all:\n",
    ".gitignore": b"*.s\n*.orig\n",
    ".gitattributes": b"* text eol=crlf ident\n",
    "mm/a.c": NUMBERS,
    "mm/b.c": NUMBERS,
    "lib/head.s": b"$Id$\n",
    "include/crlf.h": b"one\r\ntwo\r\n",
    "scripts/run me": ("100755", b"#!/bin/sh\n"),
    "link": ("120000", b"mm"),
    "drivers/odd/deep.c": b"int x;\n",
}
OTHER: Files = {
    **{name: data for name, data in BASE.items() if not name.startswith(("drivers", "include"))},
    "mm/a.c": NUMBERS.replace(b"line 7", b"changed"),
    "Documentation/my notes.rst": b"x\n",
    "Grüße/ü.c": b"x\n",
    "include/renamed.h": b"one\r\ntwo\r\n",
    "link": b"a file now\n",
    "mm/b.c/is a directory": b"x\n",
}
del OTHER["mm/b.c"]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def base(cache: Cache) -> Tree:
    return make_tree(BASE, cache)


@pytest.fixture(scope="module")
def other(cache: Cache) -> Tree:
    return make_tree(OTHER, cache)


@pytest.fixture
def work(tmp_path: Path, base: Tree, cache: Cache) -> WorkTree:
    work = WorkTree(tmp_path / "work")
    work.move(base, cache)
    return work


@pytest.fixture(scope="module")
def one_work(tmp_path_factory: pytest.TempPathFactory, base: Tree, cache: Cache) -> WorkTree:
    """For tests that end with the base, or fail."""
    work = WorkTree(tmp_path_factory.mktemp("one") / "work")
    work.move(base, cache)
    return work


def wanted(files: Files) -> dict[str, tuple[str, bytes]]:
    plain = {name: data if isinstance(data, tuple) else ("100644", data) for name, data in files.items()}
    return {os.fspath(Path(name)): mode_and_data for name, mode_and_data in plain.items()}


def content(work: WorkTree) -> dict[str, tuple[str, bytes]]:
    """Everything below the checkout, as git would have it; an empty directory has a slash."""
    found = {}
    for path in work.source.rglob("*"):
        name = str(path.relative_to(work.source))
        if path.is_symlink():
            found[name] = ("120000", os.fsencode(path.readlink()))
        elif path.is_file():
            found[name] = ("100755" if path.stat().st_mode & 0o100 else "100644", path.read_bytes())
        elif not any(path.iterdir()):
            found[f"{name}/"] = ("", b"")
    return found


def test_a_checkout_is_its_tree_byte_for_byte(work: WorkTree, other: Tree, base: Tree, cache: Cache) -> None:
    assert content(work) == wanted(BASE)
    work.move(other, cache)
    assert content(work) == wanted(OTHER)
    work.move(base, cache)
    assert content(work) == wanted(BASE)
    assert sorted(path.name for path in work.root.iterdir()) == ["index", "source"]


def test_only_what_differs_gets_a_new_time(work: WorkTree, base: Tree, other: Tree, cache: Cache) -> None:
    """make builds what is newer than its object: what a series changed, and what was put back."""
    for path in work.source.rglob("*.[cs]"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    work.move(base, cache)  # they look changed, and are written again
    before = {path: path.stat().st_mtime_ns for path in work.source.rglob("*")}
    work.move(other, cache)
    work.move(base, cache)
    after = {path: path.stat().st_mtime_ns for path in work.source.rglob("*") if path.is_file()}
    newer = {str(path.relative_to(work.source)) for path, time in after.items() if time != before[path]}
    assert newer - {"link"} == {"mm/a.c", "mm/b.c", "include/crlf.h", "drivers/odd/deep.c"}


def overwrite(work: WorkTree) -> None:
    """As large, and with the times that it had."""
    path = work.source / "mm/a.c"
    stat = path.stat()
    path.write_bytes(NUMBERS[::-1])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def leave(name: str, data: bytes = b"x") -> Callable[[WorkTree], None]:
    def left(work: WorkTree) -> None:
        path = work.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return left


def replace_directory(work: WorkTree) -> None:
    shutil.rmtree(work.source / "mm")
    (work.source / "mm").touch()


def lead_elsewhere(work: WorkTree) -> None:
    (work.source / "link").unlink()
    (work.source / "link").symlink_to("/")


def replace_by_directory(work: WorkTree) -> None:
    (work.source / "mm/a.c").unlink()
    (work.source / "mm/a.c/deeper").mkdir(parents=True)
    (work.source / "mm/a.c/deeper/x").touch()


LEFT: dict[str, Callable[[WorkTree], None]] = {
    "half a file": leave("mm/a.c", NUMBERS[:100]),
    "a file that only looks the same": overwrite,
    "a file of a series": leave("Documentation/my notes.rst"),
    "a file that is ignored": leave("mm/a.c.orig"),
    "a file in place of a directory": replace_directory,
    "a directory in place of a file": replace_by_directory,
    "a repository": leave(".git/config", b"[core]\n\tbare = true\n"),
    "an empty directory": lambda work: (work.source / "include/config").mkdir(),
    "a file that is gone": lambda work: (work.source / "Makefile").unlink(),
    "a mode": lambda work: (work.source / "Makefile").chmod(0o755),
    "a link that leads elsewhere": lead_elsewhere,
    "the lock of a killed git": lambda work: work.root.joinpath("index.lock").touch(),
    "no index": lambda work: work.index.unlink(),
    "no checkout": lambda work: shutil.rmtree(work.source),
    "nothing": lambda work: None,
}


@pytest.mark.parametrize("what", LEFT)
def test_whatever_was_left_is_not_built(
    one_work: WorkTree, base: Tree, other: Tree, cache: Cache, what: str
) -> None:
    work = one_work
    for tree, files in ((base, BASE), (other, OTHER)):
        LEFT[what](work)
        work.move(tree, cache)
        assert content(work) == wanted(files)
        work.move(base, cache)
        assert content(work) == wanted(BASE)


KILLER = """#!/bin/sh
# git that is killed when it has written some files of a checkout
case " $* " in
*" read-tree "*--reset*)
	{real} "$@" &
	while [ ! -e "{source}/Documentation/my notes.rst" ] && kill -0 $!; do :; done
	kill -9 $!
	exit 137 ;;
esac
exec {real} "$@"
"""


def test_a_move_that_is_killed(
    work: WorkTree, base: Tree, other: Tree, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far it got, before or after the last file and the index."""
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    program.write_text(KILLER.format(real=shutil.which("git"), source=work.source))
    program.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(program.parent), prepend=os.pathsep)
        with pytest.raises(ProcessError, match="exit status 137"):
            work.move(other, cache)
    assert (work.source / "Documentation/my notes.rst").exists()
    work.move(base, cache)
    assert content(work) == wanted(BASE)


def test_a_file_system_that_cannot_hold_a_tree(
    work: WorkTree, other: Tree, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if names that differ in case alone were one file: what was written first is not there any more."""
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    real = shutil.which("git")
    spoil = f'echo spoilt >"{work.source}/Makefile"'
    program.write_text(f'#!/bin/sh\n{real} "$@" || exit\ncase " $* " in *" read-tree "*) {spoil} ;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    with pytest.raises(LabError, match=r"1 files? are not as in tree [0-9a-f]{12}: Makefile"):
        work.move(other, cache)


def test_twenty_series_leave_nothing(work: WorkTree, base: Tree, cache: Cache, tmp_path: Path) -> None:
    """Good ones and bad ones, in any order, each from the state that the one before left."""
    dice = random.Random(20)
    moved = refused = 0
    for number in range(20):
        files = dict(BASE)
        lines = NUMBERS.splitlines(keepends=True)
        lines[dice.randrange(60)] = b"new %d\n" % number
        files[dice.choice(["mm/a.c", "mm/b.c"])] = b"".join(lines)
        if dice.random() < 0.4:
            files[f"new {number}/ä.c"] = b"x\n"
        if dice.random() < 0.4:
            del files[dice.choice(["include/crlf.h", "drivers/odd/deep.c", "link"])]
        path = tmp_path / f"{number}.patch"
        data = diff(base, make_tree(files, cache), cache)
        path.write_bytes(data.replace(b"-line", b"-LINE") if dice.random() < 0.3 else data)
        with suppress(NotApplied):
            refused += 1
            work.move(apply_to_tree(base, read_series([path]), cache).tree, cache)
            refused, moved = refused - 1, moved + 1
            assert content(work) == wanted(files)
        if dice.random() < 0.5:
            work.move(base, cache)
            assert content(work) == wanted(BASE)
    work.move(base, cache)
    assert content(work) == wanted(BASE)
    assert (moved + refused, moved > 5, refused > 2) == (20, True, True)
