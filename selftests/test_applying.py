# SPDX-License-Identifier: GPL-2.0-or-later
"""A series on a tree: what it makes, which hunks are off, and why one does not fit."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from trees import Files, diff, make_tree, read_tree

from guestloop.cache import Cache
from guestloop.ground.errors import ConfigError, NotApplied
from guestloop.sources import Applied, DirectoryStage, Series, Tree, apply, apply_to_tree, read_series
from guestloop.sources.fit import Offset

LINES = [b"line %d\n" % number for number in range(1, 9001)]
BASE: Files = {
    "Makefile": b"VERSION = 6\n",
    "mm/a.c": b"".join(LINES[:40]),
    "mm/long.c": b"".join(LINES),
    "mm/empty.c": b"",
    "tools/mm/a.c": b"".join(LINES[:40]),
    "include/crlf.h": b"one\r\ntwo\r\nthree\r\n",
    "Documentation/link": ("120000", b"../mm/a.c"),
    "scripts/run me": ("100755", b"#!/bin/sh\ntrue\n"),
}


@pytest.fixture(scope="module")
def base(cache: Cache) -> Tree:
    return make_tree(BASE, cache)


def series_of(tmp_path: Path, *diffs: bytes) -> Series:
    paths = []
    for number, data in enumerate(diffs, start=1):
        paths.append(tmp_path / f"{number}.patch")
        paths[-1].write_bytes(data)
    return read_series(paths)


def on(base: Tree, cache: Cache, tmp_path: Path, *diffs: bytes, threeway: bool = False) -> Applied:
    return apply_to_tree(base, series_of(tmp_path, *diffs), cache, threeway=threeway)


def hunk(name: str, *lines: str, at: int = 1, to: int = 0) -> bytes:
    """A diff of one hunk in one file, at this line."""
    old, new = (sum(line[:1] != mark for line in lines) for mark in "+-")
    head = f"diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n@@ -{at},{old} +{to or at},{new} @@\n"
    return (head + "".join(f"{line}\n" for line in lines)).encode()


def around(number: int, *, at: int = 0, name: str = "mm/a.c") -> bytes:
    """Changes line ``number``, with a header that says it is at another one."""
    lines = [f" line {number + beside}" for beside in (-3, -2, -1, 1, 2, 3)]
    change = (f"-line {number}", f"+changed {number}")
    return hunk(name, *lines[:3], *change, *lines[3:], at=(at or number) - 3)


# --- what a series makes ---------------------------------------------------------------------------

CHANGES: dict[str, Files] = {
    "content": {"mm/a.c": b"".join(LINES[:20])},
    "a new file with a blank and one with an umlaut": {
        "Documentation/my notes.rst": b"x\n",
        "Grüße/ä b": b"y\n",
    },
    "a name with a tab, a quote and a backslash": {'odd\tname "q" \\': b"x\n"},
    "a name that is not UTF-8": {b"caf\xe9".decode(errors="surrogateescape"): b"x\n"},
    "a binary file": {"logo.bin": bytes(range(256)) * 4},
    "a mode": {"mm/a.c": ("100755", b"".join(LINES[:40]))},
    "a symbolic link": {"Documentation/link": ("120000", b"../Makefile")},
    "no line feed at the end": {"Makefile": b"VERSION = 7"},
    "an empty file that gets content": {"mm/empty.c": b"int x;\n"},
    "content that is all gone": {"mm/a.c": b""},
    "CRLF": {"include/crlf.h": b"one\r\n2\r\nthree\r\n"},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_diff_of_git_makes_the_tree_it_was_made_of(
    base: Tree, cache: Cache, tmp_path: Path, what: str
) -> None:
    wanted = make_tree({**BASE, **CHANGES[what]}, cache)
    for round in range(2):  # from the cache the second time
        made = on(base, cache, tmp_path, diff(base, wanted, cache))
        assert (made.tree.id, made.patches[0].offsets, round) == (wanted.id, (), round)
    assert read_tree(made.tree, cache) == read_tree(wanted, cache)


@pytest.mark.parametrize("options", [(), ("-M",), ("-M", "-C", "--find-copies-harder"), ("--no-renames",)])
def test_renames_copies_and_removals(
    base: Tree, cache: Cache, tmp_path: Path, options: tuple[str, ...]
) -> None:
    files = {**BASE, "include/new name.h": BASE["include/crlf.h"], "mm/copy.c": b"".join(LINES[:39])}
    del files["include/crlf.h"], files["mm/empty.c"]
    wanted = make_tree(files, cache)
    assert on(base, cache, tmp_path, diff(base, wanted, cache, *options)).tree.id == wanted.id


PREFIXES = {
    "git's": (),
    "diff.noprefix": ("--no-prefix",),
    "diff.mnemonicPrefix": ("--src-prefix=i/", "--dst-prefix=w/"),
    "deep": ("--src-prefix=old/linux/", "--dst-prefix=new/linux/"),
}


@pytest.mark.parametrize("kind", PREFIXES)
@pytest.mark.parametrize("change", ["tools/mm/a.c", "tools/mm/new.c"])
def test_any_prefix_leads_to_the_same_file(
    base: Tree, cache: Cache, tmp_path: Path, kind: str, change: str
) -> None:
    """tools/mm/a.c and mm/a.c are the same: a directory too many taken off would not be noticed."""
    wanted = make_tree({**BASE, change: b"".join(LINES[:39])}, cache)
    made = on(base, cache, tmp_path, diff(base, wanted, cache, *PREFIXES[kind]))
    assert made.tree.id == wanted.id
    assert bool(made.notes) == (made.patches[0].strip != 1) == (kind in {"diff.noprefix", "deep"})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mm/a.c.orig\t2024-01-01 00:00:00", "mm/a.c\t2024-01-02 00:00:00"),
        ("linux-6.12.orig/mm/a.c", "linux-6.12/mm/a.c"),
        ("a/mm/a.c", "b/mm/a.c"),
        ("mm/a.c", "mm/a.c"),
        ("linux/mm/a.c", "linux/mm/a.c"),
        ("/usr/src/linux/mm/a.c", "/usr/src/linux/mm/a.c"),
        ("/home/me/src/work/kernel/linux.orig/mm/a.c", "/home/me/src/work/kernel/linux/mm/a.c"),
    ],
)
def test_a_diff_that_git_did_not_make(base: Tree, cache: Cache, tmp_path: Path, old: str, new: str) -> None:
    body = around(20).partition(b"@@")[2]
    made = on(base, cache, tmp_path, f"--- {old}\n+++ {new}\n@@".encode() + body)
    assert read_tree(made.tree, cache)["mm/a.c"].splitlines()[19] == b"changed 20"


def test_new_and_removed_files_of_diff_n(base: Tree, cache: Cache, tmp_path: Path) -> None:
    epoch = "1970-01-01 00:00:00.000000000 +0000"
    new = f"--- linux.orig/mm/new.c\t{epoch}\n+++ linux/mm/new.c\t2024-01-01\n@@ -0,0 +1 @@\n+int new;\n"
    gone = f"--- linux.orig/Makefile\t2024-01-01\n+++ linux/Makefile\t{epoch}\n@@ -1 +0,0 @@\n-VERSION = 6\n"
    made = read_tree(on(base, cache, tmp_path, (new + gone).encode()).tree, cache)
    assert made["mm/new.c"] == b"int new;\n"
    assert "Makefile" not in made


@pytest.mark.parametrize("name", ["drivers/new/mm/x.c", "new/include/x.h"])
def test_a_new_directory_stays_where_the_diff_has_it(
    base: Tree, cache: Cache, tmp_path: Path, name: str
) -> None:
    """mm and include are in the source, drivers/new and new are not."""
    wanted = make_tree({**BASE, name: b"int x;\n"}, cache)
    made = on(base, cache, tmp_path, diff(base, wanted, cache))
    assert (made.tree.id, made.notes) == (wanted.id, ())


def test_patches_build_upon_each_other(base: Tree, cache: Cache, tmp_path: Path) -> None:
    first, second = hunk("mm/new.c", "+one", at=0), hunk("mm/new.c", " one", "+two")
    first = first.replace(b"--- a/mm/new.c", b"new file mode 100644\n--- /dev/null").replace(b"+0,1", b"+1,1")
    made = on(base, cache, tmp_path, first, second)
    assert read_tree(made.tree, cache)["mm/new.c"] == b"one\ntwo\n"


def test_a_series_that_changes_nothing_says_so(base: Tree, cache: Cache, tmp_path: Path) -> None:
    there = around(10)
    back = around(10).replace(b"-line", b"-changed").replace(b"+changed", b"+line")
    made = on(base, cache, tmp_path, there, back)
    assert (made.tree.id, made.notes) == (base.id, ("the series leaves the source as it is",))


def test_no_series_is_the_base(base: Tree, cache: Cache) -> None:
    assert apply_to_tree(base, Series(), cache).tree == base


# --- hunks that are off ----------------------------------------------------------------------------


def test_an_offset_is_told_per_hunk(base: Tree, cache: Cache, tmp_path: Path) -> None:
    both = (
        around(4500, at=500, name="mm/long.c")
        + around(8000, name="mm/long.c").partition(b"+++ b/mm/long.c\n")[2]
    )
    made = on(base, cache, tmp_path, both)
    assert made.patches[0].offsets == (Offset("mm/long.c", 1, 497, 4497, 1),)
    assert made.notes == ("1.patch: mm/long.c hunk 1 at line 4497 instead of 497",)
    assert read_tree(made.tree, cache)["mm/long.c"].splitlines()[4499] == b"changed 4500"
    assert on(base, cache, tmp_path, both) == made, "from the cache too"


def test_a_hunk_that_fits_in_several_places_says_so(cache: Cache, tmp_path: Path) -> None:
    block = b"if (x)\n\tflush();\n\n"
    twice = make_tree({"a.c": block + b"other\n" * 5 + block + b"end\n"}, cache)
    (offset,) = (
        on(twice, cache, tmp_path, hunk("a.c", " if (x)", "-\tflush();", "+\tno();", " ", at=7))
        .patches[0]
        .offsets
    )
    assert (offset.wanted, offset.found, offset.places) == (7, 9, 2)
    assert "one of 2 places" in str(offset)


def test_lines_that_earlier_hunks_add_are_no_offset(base: Tree, cache: Cache, tmp_path: Path) -> None:
    files = [b"new\n" * 7, *LINES[:8], b"changed\n", *LINES[9:30], *LINES[35:40]]
    wanted = make_tree({**BASE, "mm/a.c": b"".join(files)}, cache)
    made = on(base, cache, tmp_path, diff(base, wanted, cache, "-U1"))
    assert (made.tree.id, made.notes) == (wanted.id, ())


@pytest.mark.parametrize("seed", range(12))
def test_offsets_are_where_git_puts_hunks(cache: Cache, tmp_path: Path, seed: int) -> None:
    """Random files of few different lines, and diffs from another version of them: git is the judge."""
    dice = random.Random(seed)
    old = [b"%d\n" % dice.randrange(4) for _ in range(60)]
    new = list(old)
    for _ in range(3):
        new[dice.randrange(60)] = b"new %d\n" % dice.randrange(99)
    above = [b"above\n"] * dice.randrange(9)
    other = [*old[:20], *above, *old[20:]]
    before, after, base = (make_tree({"x": b"".join(lines)}, cache) for lines in (old, new, other))
    try:
        made = on(base, cache, tmp_path, diff(before, after, cache, f"-U{dice.randrange(1, 4)}"))
    except NotApplied as error:
        assert "does not match" in str(error) or "its lines stand at" in str(error)
        return
    hunks = {one.hunk: one for one in made.patches[0].offsets}
    seen = read_tree(made.tree, cache)["x"].splitlines()
    changed = [at for at, line in enumerate(new) if line.startswith(b"new")]
    shifts = {at: next(i for i, line in enumerate(seen) if line + b"\n" == new[at]) - at for at in changed}
    assert set(shifts.values()) - {0} == {one.found - one.wanted for one in hunks.values()}


# --- what does not fit -----------------------------------------------------------------------------


def refused(base: Tree, cache: Cache, tmp_path: Path, *diffs: bytes, threeway: bool = False) -> NotApplied:
    before = sorted(path.name for path in (cache.root / "series").glob("*"))
    with pytest.raises(NotApplied) as caught:
        on(base, cache, tmp_path, *diffs, threeway=threeway)
    number = len(diffs)
    assert caught.value.first_line.startswith(
        f"{tmp_path}/{number}.patch: patch {number} of {number} does not apply: "
    )
    assert sorted(path.name for path in (cache.root / "series").glob("*")) == before, "nothing is left"
    assert caught.value.hint
    return caught.value


def test_a_hunk_that_fits_nowhere_shows_what_stands_there(base: Tree, cache: Cache, tmp_path: Path) -> None:
    error = refused(base, cache, tmp_path, around(10).replace(b"-line 10\n", b"-line ten\n"))
    assert str(error).splitlines()[0].endswith("mm/a.c: hunk 1 at line 7 does not match the source")
    assert str(error).splitlines()[1:] == [
        "  mm/a.c:",
        "  hunk 1 wants:",
        *(f"    | line {what}" for what in ("ten", 11, 12, 13)),
        "  the source has, from line 10 on:",
        *(f"    | line {what}" for what in (10, 11, 12, 13)),
    ]


ODD = {
    "already contains the change": around(10)
    .replace(b"-line 10", b"-was 10")
    .replace(b"+changed 10", b"+line 10"),
    "mm/b.c: no such file in the source": around(10, name="mm/b.c"),
    "hunk 1 at line 7 has no line of context": hunk("mm/a.c", "-line 10", "+no context", at=7),
    "hunk 1 at line 10 has no line of context": hunk("mm/a.c", "-line 10", "+no context", at=10),
    "white space differs": around(10).replace(b" line 9", b" line  9"),
    "quoted-printable that nobody decoded": around(10).replace(b" line 9", b" line=209"),
    "copied from a web page": around(10).replace(b" line 9", b" line&#32;9"),
    "the ends of the lines differ": hunk("include/crlf.h", " one", "-two", "+2", " three"),
    "belongs to the beginning of the file by its context, but its lines stand at line 7": around(10, at=4),
    "already there": b"--- /dev/null\n+++ b/mm/a.c\n@@ -0,0 +1 @@\n+x\n",
    "outside of the source tree": hunk("../etc/passwd", " root", "-x", "+y"),
    "outside of the source": hunk(".git/config", " root", "-x", "+y"),
}


@pytest.mark.parametrize("why", ODD)
def test_why_a_patch_does_not_fit(base: Tree, cache: Cache, tmp_path: Path, why: str) -> None:
    assert why in refused(base, cache, tmp_path, ODD[why]).first_line


def test_an_absolute_name_that_leads_nowhere(base: Tree, cache: Cache, tmp_path: Path) -> None:
    error = refused(base, cache, tmp_path, b"--- /old/x.c\n+++ /new/x.c\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n")
    assert "outside of the source tree" in error.first_line
    assert error.hint.startswith("names in a diff begin at the top of the source")


def test_the_patch_of_a_series_that_does_not_fit_is_named(base: Tree, cache: Cache, tmp_path: Path) -> None:
    error = refused(base, cache, tmp_path, around(10), around(10))
    assert "mm/a.c: already contains the change" in str(error)


def test_all_hunks_that_do_not_fit_are_named(base: Tree, cache: Cache, tmp_path: Path) -> None:
    data = around(10).replace(b"-line 10", b"-x") + around(20, name="Makefile") + around(20, name="mm/b.c")
    first = refused(base, cache, tmp_path, data).first_line
    assert "mm/a.c: hunk 1 at line 7" in first
    assert "Makefile: hunk 1 at line 17" in first
    assert "mm/b.c: no such file" in first


def test_a_diff_that_was_made_in_a_subdirectory(base: Tree, cache: Cache, tmp_path: Path) -> None:
    error = refused(base, cache, tmp_path, around(10, name="long.c"))
    assert "long.c: no such file in the source" in error.first_line
    assert "is mm/long.c meant?" in error.hint


def test_a_base_commit_is_in_the_hint(base: Tree, cache: Cache, tmp_path: Path) -> None:
    data = b"base-commit: " + b"abc0" * 10 + b"\n" + around(20, name="mm/b.c")
    assert "abc0abc0abc0" in refused(base, cache, tmp_path, data).hint


def test_a_three_way_merge_where_it_was_asked_for(base: Tree, cache: Cache, tmp_path: Path) -> None:
    """The patch was made from the base; its context differs in the tree that it is for."""
    patched = make_tree({**BASE, "mm/a.c": b"".join([*LINES[:19], b"changed\n", *LINES[20:40]])}, cache)
    other = make_tree({**BASE, "mm/a.c": b"".join([*LINES[:17], b"other\n", *LINES[18:40]])}, cache)
    data = diff(base, patched, cache, "--full-index")
    assert "does not match" in str(refused(other, cache, tmp_path, data))
    both = Tree(other.id, (*other.stores, *base.stores))
    made = on(both, cache, tmp_path, data, threeway=True)
    assert read_tree(made.tree, cache)["mm/a.c"].splitlines()[17:20] == [b"other", b"line 19", b"changed"]
    assert "merged: mm/a.c: hunk 1" in made.notes[0]
    conflict = data.replace(b"+changed", b"+other").replace(b" line 18\n", b"-line 18\n+else\n")
    assert "three-way merge did not help" in str(refused(both, cache, tmp_path, conflict, threeway=True))


def test_what_was_applied_is_kept_as_data(base: Tree, cache: Cache, tmp_path: Path) -> None:
    made = on(base, cache, tmp_path, around(30, at=20))
    stored = json.loads((made.tree.stores[0].parent / "applied.json").read_text())
    assert stored["tree"] == made.tree.id
    offset = {"file": "mm/a.c", "hunk": 1, "wanted": 17, "found": 27, "places": 1}
    assert stored["patches"] == [{"strip": 1, "offsets": [offset], "merged": []}]


# --- a directory -----------------------------------------------------------------------------------


def test_a_directory_is_patched_in_place(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "mm").mkdir(parents=True)
    (source / "mm/a.c").write_bytes(b"".join(LINES[:40]))
    apply(DirectoryStage(source), series_of(tmp_path, around(10), around(20)))
    assert (source / "mm/a.c").read_bytes().splitlines()[9] == b"changed 10"
    with pytest.raises(NotApplied, match="already contains the change") as caught:
        apply(DirectoryStage(source), series_of(tmp_path, around(10)), hint="made for 7.2")
    assert caught.value.hint == "made for 7.2"
    with pytest.raises(NotApplied) as caught:
        apply(DirectoryStage(source), series_of(tmp_path, around(10, name="a.c")))
    assert "is mm/a.c meant?" in caught.value.hint
    with pytest.raises(ConfigError, match="outside of the source tree"):
        apply(DirectoryStage(source), series_of(tmp_path, hunk("../x", " a", "-b")))
