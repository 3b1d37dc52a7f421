# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading a series: what people have in their files, and what is damaged in it."""

from __future__ import annotations

import base64
import gzip
import lzma
import quopri
from collections.abc import Callable
from pathlib import Path

import pytest

from guestloop.ground.errors import ConfigError
from guestloop.sources import Series, read_series

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
