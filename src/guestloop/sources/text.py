# SPDX-License-Identifier: GPL-2.0-or-later
"""The text of a file with patches: unpacked, without what editors add, or why it cannot be one (pure)."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Sequence

from guestloop.ground.errors import ConfigError

RAW_HINT = (
    "save the raw mail instead, by its message-id: on lore.kernel.org the link 'raw', or"
    " 'b4 am MESSAGE-ID' for a whole series"
)

_UTF8_BOM, _UTF16_BOMS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
_ZEROS = bytes(10)  # every other byte of a text in UTF-16 that is ASCII
_PACKED: dict[bytes, tuple[str, Callable[[bytes], bytes]]] = {
    b"\x1f\x8b": ("gzip", gzip.decompress),
    b"\xfd7zXZ\0": ("xz", lzma.decompress),
    b"BZh": ("bzip2", bz2.decompress),
}
# What a file is that begins so, and what to do with it.
_OTHERS = {
    b"\x28\xb5\x2f\xfd": ("packed by zstd", "unpack it first: zstd -d"),
    b"PK\x03\x04": ("a zip archive", "unpack it first, and name the files"),
    b"# v2 git bundle": ("a bundle of git", "fetch it into a git tree, and name that by --git"),
    b"# v3 git bundle": ("a bundle of git", "fetch it into a git tree, and name that by --git"),
}
_TAR_MAGIC = (257, b"ustar")

_TELLING = 400  # bytes of a diff that are not found in a file twice

_HTML = re.compile(rb"\s*<(!doctype html|html|head|body|\?xml)\b", re.IGNORECASE)
_HEADER = rb"(?:diff --git |diff -|--- |\+\+\+ |@@ -)"
# Of a coloured diff any part may have lost its colours on the way.
_COLOUR = re.compile(rb"^(?:\x1b\[[0-9;]*[mK])+(?:" + _HEADER + rb"|[-+ ])", re.MULTILINE)
_QUOTED = re.compile(rb"^(?:> ?|\| )+" + _HEADER + rb".*\n(?:>|\|)", re.MULTILINE)
_INDENTED = re.compile(rb"^[ \t]+(?:diff --git |@@ -\d+(?:,\d+)? \+\d)", re.MULTILINE)
_NORMAL = re.compile(rb"^\d+(?:,\d+)?[acd]\d+(?:,\d+)?\n[<>] ", re.MULTILINE)
_BASE64 = re.compile(rb"\s*(?:[A-Za-z0-9+/]{4}\s*){20,}[A-Za-z0-9+/]*={0,2}\s*")
_TAGS = re.compile(rb"<(?:br|div|span|pre|td)\b[^>]*>", re.IGNORECASE)
_CONTEXT = re.compile(rb"^\*\*\* .*\n--- .*\n\*{15}", re.MULTILINE)
_WORDS = re.compile(rb"^.*\[-.*-\]\{\+.*\+\}", re.MULTILINE)
_NUL = re.compile(rb"\0")
_OLD_MAC = re.compile(rb"\r(?:diff --git |--- |@@ -)")
_MAIL_UTF16 = re.compile(rb"^Content-Type:.*charset=\"?utf-16", re.MULTILINE | re.IGNORECASE)
_PACKED_ATTACHMENT = re.compile(
    rb"^Content-(?:Type|Disposition):.*(?:\n[ \t].*)*name=\"?[^\"\n]*\.(?:gz|tgz|xz|bz2|zst|zip)\b",
    re.MULTILINE | re.IGNORECASE,
)


def clean(data: bytes, where: str) -> bytes:
    """The text in the bytes of a file: unpacked and without a byte order mark.

    Raises ConfigError for what is no text, naming what it is.
    """
    for magic, (what, hint) in _OTHERS.items():
        if data.startswith(magic):
            raise ConfigError(f"{where}: {what}, not a patch", hint=hint)
    data = unpack(data, where)
    if data.startswith(_TAR_MAGIC[1], _TAR_MAGIC[0]):
        raise ConfigError(f"{where}: a tarball, not a patch", hint="unpack it, and name the folder")
    if not data.strip():
        raise ConfigError(f"{where}: the file is empty", hint="was its disk full when it was written?")
    if data.startswith(_UTF16_BOMS) or (data[1:20:2] == _ZEROS) != (data[0:20:2] == _ZEROS):
        raise ConfigError(
            f"{where}: the text is UTF-16",
            hint="PowerShell's > writes it: 'git diff --output=FILE', or 'iconv -f UTF-16 -t UTF-8'",
        )
    data = data.removeprefix(_UTF8_BOM)
    if _HTML.match(data):
        raise ConfigError(f"{where}: line 1: a web page (HTML), not a patch", hint=RAW_HINT)
    return data


def unpack(data: bytes, where: str) -> bytes:
    """What is in a file that is packed, or the data themselves. Raises ConfigError if it is damaged."""
    for magic, (name, decode) in _PACKED.items():
        if data.startswith(magic):
            try:
                return decode(data)
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
                raise ConfigError(f"{where}: damaged {name} file: {error}", hint="fetch it again") from error
    return data


def strip_carriage_returns(data: bytes) -> bytes:
    """Take carriage returns off where the transport added them, and leave them where files have them.

    Headers of a diff are git's own and end in a line feed alone. If each of them has a carriage return, all
    lines got one on their way. If none has, those in hunks are of a file with such line ends.
    """
    headers = re.findall(rb"^" + _HEADER + rb".*$", data, re.MULTILINE)
    added = headers and all(line.endswith(b"\r") for line in headers)
    return data.replace(b"\r\n", b"\n") if added else data


def line_of(part: bytes, data: bytes, start: int = 0) -> int:
    """The line of ``data`` where ``part`` begins, 0 if it is not there: it was encoded."""
    at = data.find(part[:_TELLING], start) if part else -1
    return data.count(b"\n", 0, at) + 1 if at >= 0 else 0


_COLOURED = (_COLOUR, "colour codes of a terminal in the diff", "make it with 'git diff --no-color'")
_BY_WORDS = (_WORDS, "a diff by words", "make it without --word-diff")

Seen = tuple[int, str, str]
"""Line, what stands there, remedy."""


def why_damaged(data: bytes) -> Seen | None:
    """Why git cannot read a diff, if that is plain to see."""
    return _first((_COLOURED, _BY_WORDS), data)


def _first(kinds: Sequence[tuple[re.Pattern[bytes], str, str]], data: bytes) -> Seen | None:
    """The first of these kinds of damage that a text has."""
    for pattern, what, hint in kinds:
        if match := pattern.search(data):
            return data.count(b"\n", 0, match.start()) + 1, what, hint
    return None


def why_no_diff(data: bytes) -> Seen | None:
    """Why git finds no diff in a text that looks as if it had one."""
    kinds = (
        _COLOURED,
        (_QUOTED, "the diff is quoted, as in a reply", RAW_HINT),
        (_INDENTED, "the diff is indented, as in the output of a pager or a message", RAW_HINT),
        (_CONTEXT, "a context diff", "make it with 'diff -u' or 'git diff'"),
        (_NORMAL, "a diff without context", "make it with 'diff -u' or 'git diff'"),
        (_OLD_MAC, "lines that end in carriage returns alone", "convert them: tr '\\r' '\\n'"),
        (_MAIL_UTF16, "the text of the mail is UTF-16", RAW_HINT),
        (_PACKED_ATTACHMENT, "what is attached is packed", "save the attachment, and name that"),
        (_TAGS, "HTML", RAW_HINT),
        (_NUL, "a binary file, not a patch", "is another file meant?"),
    )
    if _BASE64.fullmatch(data):
        return 1, "base64, as it is inside of a mail", "decode it first (base64 -d), or save the whole mail"
    return _first(kinds, data)
