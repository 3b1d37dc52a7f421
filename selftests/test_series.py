# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading a series: what people have in their files, and what is damaged in it."""

from __future__ import annotations

import base64
import errno
import gzip
import lzma
import os
import quopri
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guestloop.ground.errors import ConfigError
from guestloop.sources import Series, patch_id, read_series

DIFF = b"""\
diff --git a/mm/a.c b/mm/a.c
--- a/mm/a.c
+++ b/mm/a.c
@@ -1,3 +1,3 @@
 int a;
-\tint b = 0;
+\tint b = 1;
 int c;
"""
OTHER = DIFF.replace(b"mm/a.c", b"mm/b.c")
RAW = b"From: A <a@x>\nSubject: %s\nMessage-ID: <%s@localhost>\nContent-Type: text/plain; charset=%s\n"


def mail(
    subject: str = "[PATCH] mm: one",
    body: bytes = b"Why.\n\n---\n mm/a.c | 2 +-\n\n" + DIFF + b"-- \n2.39.5\n",
    *,
    encoding: str = "8bit",
    charset: str = "utf-8",
) -> bytes:
    identity = subject.encode().translate(None, b" []/:").lower()
    head = RAW % (subject.encode(), identity, charset.encode())
    return head + f"Content-Transfer-Encoding: {encoding}\n\n".encode() + body + b"\n"


def box(*mails: bytes) -> bytes:
    return b"".join(b"From 0123456789 Mon Sep 17 00:00:00 2001\n" + one for one in mails)


def read(tmp_path: Path, data: bytes, name: str = "fix.patch") -> Series:
    path = tmp_path / name
    path.write_bytes(data)
    return read_series([path])


def refused(tmp_path: Path, data: bytes, name: str = "fix.patch") -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, data, name)
    assert caught.value.first_line.startswith(str(tmp_path / name))
    assert caught.value.hint
    return caught.value


# --- what is read ----------------------------------------------------------------------------------


@pytest.mark.parametrize("around", [b"", b"text\n\n"])
def test_a_plain_diff(tmp_path: Path, around: bytes) -> None:
    (patch,) = read(tmp_path, around + DIFF + b"\ntext\n").patches
    assert (patch.name, patch.subject, patch.diff) == ("fix.patch", "", DIFF)
    assert patch.at(1) == f"{tmp_path}/fix.patch: line {1 + around.count(10)}"


def test_a_mail(tmp_path: Path) -> None:
    (patch,) = read(tmp_path, mail()).patches
    assert (patch.name, patch.subject, patch.diff) == ("fix.patch", "[PATCH] mm: one", DIFF)
    assert patch.message_id == "patchmmone@localhost"
    assert patch.first_line == 12


def test_names_and_subjects_are_on_one_line_and_move_no_cursor(tmp_path: Path) -> None:
    (patch,) = read(tmp_path, mail("[PATCH] one\x1b[2J \u202eowt"), "a\nb\x1b.patch").patches
    assert (patch.name, patch.subject) == (r"a\nb\x1b.patch", r"[PATCH] one\x1b[2J \u202eowt")


ENCODED: dict[str, Callable[[bytes], bytes]] = {
    "quoted-printable": quopri.encodestring,
    "base64": base64.encodebytes,
    "8bit": bytes,
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_a_mail_in_any_encoding_has_the_same_patch(tmp_path: Path, encoding: str) -> None:
    (plain,) = read(tmp_path, DIFF).patches
    (patch,) = read(tmp_path, mail(body=ENCODED[encoding](b"Why.\n---\n" + DIFF), encoding=encoding)).patches
    assert (patch.sha256, patch.diff) == (plain.sha256, DIFF)
    assert patch.at(4).endswith("line 12" if encoding == "8bit" else "line 4 of the decoded diff")


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_packed_file(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert read(tmp_path, pack(mail())) == read(tmp_path, mail())


def test_an_indented_diff_in_the_message_is_no_patch(tmp_path: Path) -> None:
    """As git am has it: only what stands at the start of a line begins the patch."""
    quoted = b"".join(b"    " + line for line in OTHER.splitlines(keepends=True))
    (patch,) = read(tmp_path, mail(body=b"Unlike\n\n" + quoted + b"\nthis.\n---\n" + DIFF)).patches
    assert patch.diff == DIFF


def test_trailers_of_the_base(tmp_path: Path) -> None:
    base, first = "1" * 40, "2" * 40
    trailers = f"\nbase-commit: {base}\nprerequisite-patch-id: {first}\n-- \n2.39.5\n"
    series = read(tmp_path, mail(body=b"Why.\n---\n" + DIFF + trailers.encode()))
    assert (series.base_commit, series.prerequisites) == (base, (first,))
    assert series.patches[0].diff == DIFF


def test_a_mailbox_with_its_cover_letter(tmp_path: Path) -> None:
    cover = mail("[PATCH 0/2] mm: both", b"Why both.\n\nbase-commit: " + b"1" * 40 + b"\n")
    series = read(tmp_path, box(cover, mail("[PATCH 1/2] mm: one"), mail("[PATCH 2/2] mm: two", OTHER)))
    assert series.names == ("0001-mm-one.patch", "0002-mm-two.patch")
    assert series.notes == ("cover letter skipped: [PATCH 0/2] mm: both",)
    assert series.base_commit == "1" * 40


# --- what is refused -------------------------------------------------------------------------------


def test_an_empty_file(tmp_path: Path) -> None:
    assert "the file is empty" in str(refused(tmp_path, b"\n"))


def test_a_file_without_a_diff(tmp_path: Path) -> None:
    assert "no change to any file" in str(refused(tmp_path, b"nothing here\n"))
    assert "no change to any file" in str(refused(tmp_path, mail(body=b"nothing here\n")))


def test_colours_quotes_indents_and_context_diffs_are_named(tmp_path: Path) -> None:
    coloured = b"".join(b"\x1b[1m%s\x1b[m\n" % line for line in DIFF.splitlines())
    changes = b"".join(
        b"\x1b[32m%s\x1b[m\n" % line if line[:1] in b"+-" else line + b"\n" for line in DIFF.splitlines()
    )
    quoted = b"".join(b"> " + line for line in DIFF.splitlines(keepends=True))
    indented = b"".join(b"    " + line for line in DIFF.splitlines(keepends=True))
    context = b"*** a/x.c\tnow\n--- b/x.c\tthen\n***************\n*** 1,2 ****\n"
    for data, seen in (
        (coloured, "line 1: colour codes"),
        (changes, "colour codes of a terminal"),
        (b"On Monday A wrote:\n" + quoted, "line 2: the diff is quoted"),
        (b"commit 1\n\n" + indented, "line 3: the diff is indented"),
        (context, "line 1: a context diff"),
    ):
        assert seen in str(refused(tmp_path, data))


def test_a_web_page_and_utf16_are_named(tmp_path: Path) -> None:
    assert "line 1: a web page" in str(refused(tmp_path, b"\n<!DOCTYPE html>\n<html><pre>" + DIFF))
    for encoding in ("utf-16", "utf-16-le"):
        assert "UTF-16" in str(refused(tmp_path, DIFF.decode().encode(encoding)))
    assert read(tmp_path, b"\xef\xbb\xbf" + DIFF).patches[0].diff == DIFF, "a mark of UTF-8 is skipped"


PACKED = b"""\
From: A <a@x>
Subject: [PATCH] mm: one
MIME-Version: 1.0
Content-Type: application/gzip;
 name="fix.patch.gz"
Content-Transfer-Encoding: base64

"""


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (b"3c3\n< a\n---\n> b\n", "line 1: a diff without context"),
        (b"text\n<pre>diff</pre>\n", "line 2: HTML"),
        (base64.encodebytes(DIFF), "line 1: base64"),
        (b"PK\x03\x04" + DIFF, "a zip archive, not a patch"),
        (b"# v2 git bundle\n", "a bundle of git, not a patch"),
        (b"a.patch".ljust(257, b"\0") + b"ustar\0", "a tarball, not a patch"),
        (bytes(100), "a binary file, not a patch"),
        (b"\x7fELF\2\1\1" + bytes(9) + b"\3\0>\0\1", "a binary file, not a patch"),
        (DIFF.replace(b"\n", b"\r"), "line 1: lines that end in carriage returns alone"),
        (DIFF.partition(b"--- ")[0], "no change to any file"),
        (
            mail(
                body=base64.encodebytes(DIFF.decode().encode("utf-16")), encoding="base64", charset="utf-16"
            ),
            "line 4: the text of the mail is UTF-16",
        ),
        (PACKED, "line 4: what is attached is packed"),
        (
            DIFF.replace(b"-\tint b = 0;\n+\tint b = 1;\n", b"\tint b = [-0;-]{+1;+}\n"),
            "line 6: a diff by words",
        ),
    ],
)
def test_other_things_are_named(tmp_path: Path, data: bytes, seen: str) -> None:
    assert seen in str(refused(tmp_path, data))


def test_a_device_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="/dev/zero: a device"):
        read_series([Path("/dev/zero")])
    with pytest.raises(ConfigError, match="/dev/null: the file is empty"):
        read_series([Path("/dev/null")])


def test_damaged_packed_files_are_named(tmp_path: Path) -> None:
    assert "damaged gzip file" in str(refused(tmp_path, gzip.compress(DIFF)[:-9]))
    assert "unpack it first" in refused(tmp_path, b"\x28\xb5\x2f\xfd....").hint


def test_white_space_that_was_lost_is_named_with_its_line(tmp_path: Path) -> None:
    damaged = DIFF.replace(b"\n int a;", b"\nint a;")
    error = refused(tmp_path, mail(body=b"Why.\n---\n" + damaged))
    assert "line 13: inside of a hunk, a line without blank, + or - at its start: int a;" in str(error)
    assert "message-id is patchmmone@localhost" in error.hint
    assert "raw" in error.hint


@pytest.mark.parametrize(
    ("damage", "seen"),
    [
        (DIFF[:-8], "line 7: the diff ends inside of the hunk that begins at line 4"),
        (DIFF[:-3], "line 8: the diff ends inside of a line:  int"),
        (DIFF.replace(b"-1,3 +1,3", b"-1,3 +1,2"), "line 4: the header of a hunk does not count its lines"),
        (DIFF.replace(b" int c;\n", b" int c;\n+int d;\n"), "line 9: the hunk above is longer"),
        (DIFF.split(b"+++ b/mm/a.c\n")[1], "line 1: a hunk without the names of its file"),
        (DIFF[: DIFF.index(b"@@")], "line 4: no hunk follows the names of a file, but the end"),
        (b"diff --git a/x b/x\nBinary files a/x and b/x differ\n", "line 2: no content"),
        (
            b"diff --cc mm/a.c\n--- a/mm/a.c\n+++ b/mm/a.c\n@@@ -1,1 -1,1 +1,1 @@@\n",
            "line 1: the diff of a merge",
        ),
    ],
)
def test_a_damaged_diff_is_named_with_its_line(tmp_path: Path, damage: bytes, seen: str) -> None:
    assert seen in str(refused(tmp_path, damage))


def test_a_file_that_is_named_and_not_changed(tmp_path: Path) -> None:
    """What git diff-files says of a file that was touched."""
    touched = b"diff --git a/mm/z.c b/mm/z.c\nindex 1..0 100644\n"
    for data in (touched + DIFF, DIFF + touched):
        assert [patch.diff for patch in read(tmp_path, data).patches] == [DIFF]


def test_line_ends_of_the_transport_are_taken_off(tmp_path: Path) -> None:
    """All lines have one, headers too. Those of a file with such lines are only in its hunks."""
    (plain,) = read(tmp_path, DIFF).patches
    for data in (DIFF, mail(), box(mail())):
        (patch,) = read(tmp_path, data.replace(b"\n", b"\r\n")).patches
        assert patch.diff == DIFF == plain.diff
    crlf = b"".join(
        line if number < 4 else line[:-1] + b"\r\n" for number, line in enumerate(DIFF.splitlines(True))
    )
    for data in (crlf, mail(body=crlf), mail(body=base64.encodebytes(crlf), encoding="base64")):
        (patch,) = read(tmp_path, data).patches
        assert patch.diff == crlf


def test_a_format_flowed_mail_is_under_suspicion(tmp_path: Path) -> None:
    """What begins with a blank got one more, which git takes off. Some programs only say that they did so."""
    flowed = mail(charset="utf-8; format=flowed")
    (patch,) = read(tmp_path, flowed.replace(b"\n ", b"\n  ")).patches
    assert patch.diff == DIFF
    assert "format=flowed" in patch.suspicion
    assert "format=flowed" in refused(tmp_path, flowed).hint
    assert read(tmp_path, mail()).patches[0].suspicion == ""


def test_a_mail_that_says_it_twice_is_under_suspicion(tmp_path: Path) -> None:
    """As text and as HTML: git takes both for patches."""
    kind = 'multipart/alternative; boundary="x"'
    parts = (
        b"Content-Type: text/plain\n\n" + DIFF,
        b"Content-Type: text/html\n\n<pre>\n" + DIFF + b"</pre>\n",
    )
    body = b"".join(b"--x\n" + part for part in parts) + b"--x--\n"
    data = mail(body=body).replace(b"text/plain; charset=utf-8", kind.encode(), 1)
    assert all("HTML" in patch.suspicion for patch in read(tmp_path, data).patches)


@pytest.mark.parametrize("kind", ["text/x-patch", "application/octet-stream"])
def test_a_patch_that_is_attached(tmp_path: Path, kind: str) -> None:
    body = (
        f"--x\nContent-Type: text/plain\n\nSee the patch.\n\n--x\nContent-Type: {kind}\n"
        f"Content-Disposition: attachment; filename=a.patch\nContent-Transfer-Encoding: base64\n\n"
        f"{base64.encodebytes(DIFF).decode()}\n--x--\n"
    )
    head = b"From: A <a@x>\nSubject: fix\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n"
    assert read(tmp_path, head + body.encode()).patches[0].diff == DIFF


# --- several diffs in one text ---------------------------------------------------------------------


def parts(tmp_path: Path, data: bytes) -> list[bytes]:
    series = read(tmp_path, data)
    assert b"".join(patch.diff for patch in series.patches) == data.replace(b"text\n", b"")
    return [patch.diff for patch in series.patches]


RENAME = b"diff --git a/mm/a.c b/mm/z.c\nsimilarity index 100%\nrename from mm/a.c\nrename to mm/z.c\n"
BACK = b"diff --git a/mm/z.c b/mm/a.c\nsimilarity index 100%\nrename from mm/z.c\nrename to mm/a.c\n"
COPY = b"diff --git a/mm/a.c b/mm/y.c\nsimilarity index 100%\ncopy from mm/a.c\ncopy to mm/y.c\n"
SAME = b"diff --git a/mm/a.c b/mm/a.c\n"
GONE = SAME + b"deleted file mode 100644\n--- a/mm/a.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"
LINK = SAME + b"new file mode 120000\n--- /dev/null\n+++ b/mm/a.c\n@@ -0,0 +1 @@\n+b\n"


def test_diffs_that_build_upon_each_other_are_taken_one_by_one(tmp_path: Path) -> None:
    """git takes them for one, in which a renamed file is the one before all changes."""
    assert parts(tmp_path, DIFF + OTHER) == [DIFF + OTHER]
    assert parts(tmp_path, DIFF + b"text\n" + DIFF) == [DIFF, DIFF]
    assert parts(tmp_path, DIFF + RENAME) == [DIFF, RENAME]
    assert parts(tmp_path, DIFF + OTHER + RENAME + OTHER) == [DIFF + OTHER, RENAME + OTHER]
    assert parts(tmp_path, DIFF + GONE) == [DIFF, GONE]
    assert read(tmp_path, DIFF + DIFF).names == ("fix.patch#1", "fix.patch#2")


def test_what_git_puts_into_one_diff_stays_one(tmp_path: Path) -> None:
    for data in (GONE + LINK, RENAME + BACK, DIFF + COPY):
        assert parts(tmp_path, data) == [data]


def test_commits_in_the_output_of_git_log_are_patches(tmp_path: Path) -> None:
    commit = b"commit " + b"1" * 40 + b"\n"
    series = read(tmp_path, commit + DIFF + commit + OTHER)
    assert [patch.diff for patch in series.patches] == [DIFF, OTHER]
    assert "newest commit first" in series.patches[0].suspicion
    assert len(read(tmp_path, DIFF + b"1234567 mm: other\n" + OTHER).patches) == 2


def test_files_that_a_diff_leaves_out_are_told(tmp_path: Path) -> None:
    notes = read(tmp_path, b"Only in linux/mm: new.c\n" + DIFF).notes
    assert notes == ("not in the diff, as it says (diff -N): Only in linux/mm: new.c",)


# --- mailboxes -------------------------------------------------------------------------------------

ONE, TWO = mail("[PATCH 1/2] mm: one"), mail("[PATCH 2/2] mm: two", OTHER)


def test_mails_are_sorted_by_their_numbers(tmp_path: Path) -> None:
    series = read(tmp_path, box(TWO, ONE))
    assert series.names == ("0001-mm-one.patch", "0002-mm-two.patch")
    assert "sorted" in series.notes[0]


def test_replies_are_skipped_with_a_word(tmp_path: Path) -> None:
    series = read(tmp_path, box(ONE, mail("Re: [PATCH 1/2] mm: one", b"> x\n\nfine\n"), TWO))
    assert len(series.patches) == 2
    assert series.notes == ("reply skipped: Re: [PATCH 1/2] mm: one",)


def test_a_mail_that_came_twice_is_taken_once(tmp_path: Path) -> None:
    series = read(tmp_path, box(ONE, ONE, TWO))
    assert len(series.patches) == 2
    assert series.notes == ("the same mail twice: [PATCH 1/2] mm: one",)


def test_a_mail_that_says_that_a_patch_was_taken(tmp_path: Path) -> None:
    """It has the patch again, at other lines and without a number."""
    taken = DIFF.replace(b"@@ -1,3 +1,3 @@", b"@@ -9,3 +9,3 @@")
    series = read(tmp_path, box(TWO, mail("[tip: x86/mm] mm: one", taken), ONE))
    assert series.names == ("0001-mm-one.patch", "0002-mm-two.patch")
    assert series.notes[0] == "the same change again: [tip: x86/mm] mm: one"


def test_mails_without_numbers_stay_in_their_order(tmp_path: Path) -> None:
    series = read(tmp_path, box(mail("[PATCH] b"), mail("[PATCH] a", OTHER)))
    assert [patch.subject for patch in series.patches] == ["[PATCH] b", "[PATCH] a"]


@pytest.mark.parametrize(
    ("mails", "seen"),
    [
        (
            (ONE, TWO, mail("[PATCH v2 1/2] mm: one")),
            r"\[PATCH 1/2\] 'mm: one' and \[PATCH v2 1/2\] 'mm: one'",
        ),
        ((ONE, TWO, mail("[PATCH 1/3] mm: else")), r"more than one series: .*1/2.* and .*1/3.* 'mm: else'"),
        (
            (ONE, TWO, mail("[PATCH 1/2] mm: else", OTHER)),
            r"\[PATCH 1/2\] is there twice: 'mm: one' and 'mm: else'",
        ),
        ((mail("[PATCH] a"), mail("[PATCH v3] a", OTHER)), "two versions of 'a': v1 and v3"),
        ((mail("[PATCH 1/3] a"), mail("[PATCH 3/3] c", OTHER)), "of the 3 parts .* none of number 2"),
        ((ONE, mail("[PATCH 2/2] mm: two", b"no diff here\n")), r"mail 2 .*mm: two.*: no change to any file"),
    ],
)
def test_a_mailbox_that_is_not_one_series(tmp_path: Path, mails: tuple[bytes, ...], seen: str) -> None:
    with pytest.raises(ConfigError, match=seen) as caught:
        read(tmp_path, box(*mails), "series.mbox")
    assert caught.value.first_line.startswith(f"{tmp_path}/series.mbox")


def test_the_mail_of_a_mailbox_that_is_damaged_is_named(tmp_path: Path) -> None:
    damaged = mail("[PATCH 2/2] mm: two", b"Why.\n---\n" + DIFF[: DIFF.rindex(b"\n", 0, -1)])
    with pytest.raises(ConfigError, match=r"box, mail 2\b"):
        read(tmp_path, box(mail("[PATCH 1/2] mm: one"), damaged), "box")
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, box(damaged), "box")
    assert "mail 1" not in str(caught.value)


def test_a_cover_letter_alone_is_no_series(tmp_path: Path) -> None:
    error = refused(tmp_path, mail("[PATCH 0/2] mm: both", b"Why both.\n"))
    assert "no patch found; cover letter skipped" in str(error)


def test_one_part_of_a_series_is_taken_with_a_word(tmp_path: Path) -> None:
    series = read(tmp_path, mail("[PATCH 2/3] mm: two"))
    assert series.notes == ("of the 3 parts of this series, there is none of number 1, 3",)


# --- several files and folders ---------------------------------------------------------------------


def folder(tmp_path: Path, **files: bytes) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    for name, data in files.items():
        (made / name.replace("_", ".")).write_bytes(data)
    return made


def test_files_are_taken_in_the_order_of_the_command_line(tmp_path: Path) -> None:
    at = folder(tmp_path, a_patch=DIFF, b_patch=OTHER)
    assert read_series([at / "b.patch", at / "a.patch"]).names == ("b.patch", "a.patch")


def test_files_that_make_up_a_series_are_taken_by_their_numbers(tmp_path: Path) -> None:
    at = folder(tmp_path, x_eml=TWO, y_eml=ONE)
    assert read_series([at / "x.eml", at / "y.eml"]).names == ("y.eml", "x.eml")


def test_a_folder_of_format_patch(tmp_path: Path) -> None:
    cover = mail("[PATCH 0/2] mm: both", b"Why both.\n")
    at = folder(
        tmp_path, **{"10-two_patch": TWO, "9-one_patch": ONE, "0-cover_patch": cover, "x_patch~": b"x"}
    )
    series = read_series([at])
    assert series.names == ("9-one.patch", "10-two.patch")
    assert series.notes == ("cover letter skipped: [PATCH 0/2] mm: both",)


def test_what_else_is_in_a_folder_is_told(tmp_path: Path) -> None:
    """What has been left out without a word would be missed in a kernel; what editors leave is no patch."""
    at = folder(tmp_path, **{"2-b_Patch": OTHER, ".#1-a_patch": b"x", "1-a_patch~": b"x", "README": b"x"})
    (at / "1-a.patch.gz").write_bytes(gzip.compress(DIFF))
    (at / "old.patch").mkdir()
    series = read_series([at])
    assert series.names == ("1-a.patch.gz", "2-b.Patch")
    assert series.notes == (f"{at}: by their names no patches, left out: README",)


def test_a_patch_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    at = folder(tmp_path, a_patch=DIFF)
    (at / "b.patch").symlink_to("nowhere")
    with pytest.raises(ConfigError, match=r"b\.patch: No such file or directory"):
        read_series([at])


def test_a_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_path: Path) -> Iterator[Path]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(ConfigError, match=f"^{tmp_path}: Permission denied$"):
        read_series([tmp_path])


def test_a_folder_with_a_part_missing(tmp_path: Path) -> None:
    at = folder(tmp_path, a_patch=mail("[PATCH 1/3] a"), c_patch=mail("[PATCH 3/3] c", OTHER))
    with pytest.raises(ConfigError, match="none of number 2"):
        read_series([at])


def test_a_folder_of_quilt(tmp_path: Path) -> None:
    at = folder(
        tmp_path,
        z_patch=DIFF,
        a_patch=OTHER,
        unused_patch=b"nothing",
        series=b"# mine\n\nz.patch\na.patch -p0 # x\n",
    )
    series = read_series([at])
    assert [(patch.name, patch.strip) for patch in series.patches] == [("z.patch", None), ("a.patch", 0)]
    assert read_series([at / "series"]) == series


@pytest.mark.parametrize(
    ("line", "seen"),
    [(b"gone.patch", "line 2: no such patch"), (b"z.patch -R", "line 2: not a patch and at most")],
)
def test_a_wrong_line_of_quilt_is_named(tmp_path: Path, line: bytes, seen: str) -> None:
    at = folder(tmp_path, z_patch=DIFF, series=b"z.patch\n" + line + b"\n")
    with pytest.raises(ConfigError, match=seen):
        read_series([at])


def test_a_folder_without_patches(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no patches in this folder"):
        read_series([folder(tmp_path, readme=b"x")])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.patch: No such file"):
        read_series([tmp_path / "gone.patch"])
    assert read_series([]) == Series()


def test_a_patch_id_is_that_of_the_change(tmp_path: Path) -> None:
    moved = DIFF.replace(b"-1,3 +1,3", b"-100,3 +90,3")
    assert patch_id(moved) == patch_id(DIFF) != patch_id(OTHER)
    assert len(patch_id(DIFF)) == 40
