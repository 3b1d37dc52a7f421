# SPDX-License-Identifier: GPL-2.0-or-later
"""A diff as data: which files it changes, by which hunks (pure).

What is applied is decided by ``git apply`` alone. This reads the same diff by the same rules (git's
apply.c, ``find_header`` and ``parse_fragment``) to say where a diff is damaged, where its hunks went and why
one does not fit. Two things are refused here that git passes over in silence, since a tree without them is
not the tree that was sent: lines of change after the end of a hunk, and diffs of merges.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from guestloop.ground.words import printable

_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_EXTENDED = re.compile(
    rb"(old mode|new mode|deleted file mode|new file mode|copy from|copy to|rename from|rename to|rename old"
    rb"|rename new|similarity index|dissimilarity index|index) ?(.*)"
)
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_ESCAPED = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r"}
# What diff -r says of files that it leaves out.
_ABSENT = re.compile(rb"Only in .*: |File .* is a .* while file .* is a ")
_SHOWN = 3
NO_FILE = b"/dev/null"


class Damaged(Exception):
    """A diff is not whole: ``line`` counts from 1 in the diff, ``what`` says what stands there."""

    def __init__(self, line: int, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.line, self.what, self.hint = line, what, hint


@dataclass(frozen=True)
class Hunk:
    """A hunk: its number in its file, the line of the diff where it begins, what it replaces by what.

    ``lines`` have their marker and their line end, which the last line of a file may lack.
    """

    number: int
    line: int
    old_start: int
    new_start: int
    lines: tuple[bytes, ...]

    @cached_property
    def before(self) -> tuple[bytes, ...]:
        """The lines that have to stand in the file."""
        return tuple(line[1:] for line in self.lines if line[:1] != b"+")

    @cached_property
    def after(self) -> tuple[bytes, ...]:
        """The lines that will stand in their place."""
        return tuple(line[1:] for line in self.lines if line[:1] != b"-")

    @property
    def has_context(self) -> bool:
        return any(line[:1] == b" " for line in self.lines)

    @property
    def ends_in_context(self) -> bool:
        return self.lines[-1:] != () and self.lines[-1][:1] == b" "


@dataclass(frozen=True)
class Change:
    """What a diff does to one file. Names are as they stand there, with their prefixes; None: no such file.

    ``header`` are both names where there is only one file, too. ``moved`` are the names of a rename or copy,
    which never have a prefix. ``line`` and ``end`` are its first and last line in the text.
    """

    line: int
    end: int
    header: tuple[bytes | None, bytes | None]
    old: bytes | None
    new: bytes | None
    is_git: bool
    hunks: tuple[Hunk, ...] = ()
    moved: tuple[bytes, bytes] | None = None
    is_copy: bool = False
    is_binary: bool = False


class _Reader:
    """The lines of a diff, how far they were read, and the changes that were found."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self.lines = lines
        self.at = 0
        self.changes: list[Change] = []

    @property
    def line(self) -> bytes:
        return self.lines[self.at] if self.at < len(self.lines) else b""

    def peek(self, further: int) -> bytes:
        return self.lines[self.at + further] if self.at + further < len(self.lines) else b""


@dataclass(frozen=True)
class Diff:
    """The changes of a diff, and what the text says about others that are not in it."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()


def parse(data: bytes) -> Diff:
    """Read a diff; text around it is skipped. Raises Damaged where it is not whole."""
    reader = _Reader(split_lines(data))
    while reader.at < len(reader.lines):
        if change := _read_change(reader):
            reader.changes.append(change)
        else:
            _refuse_leftover(reader)
            reader.at += 1
    return Diff(tuple(reader.changes), _absent(reader.lines) if reader.changes else ())


def _absent(lines: Sequence[bytes]) -> tuple[str, ...]:
    """A note about files that diff -r found and left out."""
    said = [show(line) for line in lines if _ABSENT.match(line)]
    more = f", and {len(said) - _SHOWN} more" if len(said) > _SHOWN else ""
    return (f"not in the diff, as it says (diff -N): {'; '.join(said[:_SHOWN])}{more}",) if said else ()


def split_lines(data: bytes) -> list[bytes]:
    """Lines with their ends as git sees them: a carriage return alone ends none."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _refuse_leftover(reader: _Reader) -> None:
    line, at = reader.line, reader.at + 1
    if line.startswith((b"diff --cc ", b"diff --combined ", b"@@@ ")):
        raise Damaged(at, "the diff of a merge, which git cannot apply", "make it against one parent")
    if _HUNK.match(line):
        raise Damaged(at, f"a hunk without the names of its file: {show(line)}")
    if line.startswith((b"Binary files ", b"Files ")) and line.rstrip().endswith(b" differ"):
        raise Damaged(at, f"no content: {show(line)}", "make the diff with 'git diff --binary'")
    if (
        reader.changes
        and reader.at == reader.changes[-1].end
        and (line[:1] == b"+" or re.match(rb"-(?!-)", line))
    ):
        raise Damaged(at, f"the hunk above is longer than its header says: {show(line)}")


def _read_change(reader: _Reader) -> Change | None:
    if reader.line.startswith(b"diff --git "):
        return _read_git(reader)
    is_header = reader.line.startswith(b"--- ") and reader.peek(1).startswith(b"+++ ")
    return _read_plain(reader) if is_header and _HUNK.match(reader.peek(2)) else None


def _read_plain(reader: _Reader) -> Change:
    line = reader.at + 1
    old, new = _name(reader.line[4:]), _name(reader.peek(1)[4:])
    reader.at += 2
    hunks = _read_hunks(reader)
    first = hunks[0]
    # diff -N names a file that is not there like one that is, dated 1970; the hunk tells.
    is_new = old is None or (first.old_start == 0 and not first.before)
    is_gone = new is None or (first.new_start == 0 and not first.after)
    names = (None if is_new else old or new, None if is_gone else new or old)
    return Change(line, reader.at, (old, new), *names, False, hunks)


def _read_git(reader: _Reader) -> Change | None:
    """A change in git's form; None, and nothing is read, if the header alone is there."""
    line = reader.at + 1
    header = _git_names(reader.line[len(b"diff --git ") :])
    old: bytes | None
    new: bytes | None
    old, new = header
    reader.at += 1
    said: dict[bytes, bytes] = {}
    while match := _EXTENDED.match(reader.line):
        said[match[1].replace(b"rename old", b"rename from").replace(b"rename new", b"rename to")] = match[2]
        reader.at += 1
    hunks: tuple[Hunk, ...] = ()
    is_binary = False
    if reader.line.startswith(b"--- ") and reader.peek(1).startswith(b"+++ "):
        old, new = _name(reader.line[4:]), _name(reader.peek(1)[4:])
        reader.at += 2
        hunks = _read_hunks(reader)
    elif reader.line.startswith(b"GIT binary patch"):
        is_binary = True
        _skip_binary(reader)
    if not (hunks or is_binary or said.keys() - {b"index"}):
        reader.at = line - 1
        return None
    copied = b"copy from" in said
    moved = b"copy" if copied else b"rename"
    names = (said.get(moved + b" from"), said.get(moved + b" to"))
    return Change(
        line,
        reader.at,
        header,
        None if b"new file mode" in said else old,
        None if b"deleted file mode" in said else new,
        True,
        hunks,
        (_unquote(names[0]), _unquote(names[1])) if names[0] and names[1] else None,
        copied,
        is_binary,
    )


def _skip_binary(reader: _Reader) -> None:
    reader.at += 1
    while reader.line.startswith((b"literal ", b"delta ")):
        while reader.line.strip():
            reader.at += 1
        if not reader.line:
            raise Damaged(reader.at, "the diff ends in a binary file", _CUT_HINT)
        reader.at += 1


_CUT_HINT = "it was cut off: fetch it again"


def _read_hunks(reader: _Reader) -> tuple[Hunk, ...]:
    hunks: list[Hunk] = []
    while match := _HUNK.match(reader.line):
        hunks.append(_read_hunk(reader, match, len(hunks) + 1))
    if not hunks:
        raise Damaged(
            reader.at + 1, f"no hunk follows the names of a file, but {show(reader.line) or 'the end'}"
        )
    return tuple(hunks)


def _read_hunk(reader: _Reader, match: re.Match[bytes], number: int) -> Hunk:
    start = reader.at + 1
    old, new = (int(match[group]) if match[group] is not None else 1 for group in (2, 4))
    reader.at += 1
    lines: list[bytes] = []
    while old > 0 or new > 0 or reader.line.startswith(b"\\ "):
        lines = _take(reader, lines, start)
        if not reader.peek(-1).startswith(b"\\"):
            old -= lines[-1][:1] != b"+"
            new -= lines[-1][:1] != b"-"
    if old < 0 or new < 0:
        raise Damaged(start, f"the header of a hunk does not count its lines: {show(match[0])}")
    return Hunk(number, start, int(match[1]), int(match[3]), tuple(lines))


def _take(reader: _Reader, lines: list[bytes], start: int) -> list[bytes]:
    """The lines of a hunk with the next one, which is read."""
    line, at = reader.line, reader.at + 1
    if not line:
        what = f"the diff ends inside of the hunk that begins at line {start}"
        raise Damaged(at - 1, what, _CUT_HINT)
    reader.at += 1
    if line[:1] == b"\\" and lines:  # "\ No newline at end of file", in whatever language
        return [*lines[:-1], lines[-1].removesuffix(b"\n")]
    if not line.endswith(b"\n"):
        what = f"the diff ends inside of a line: {show(line)}"
        raise Damaged(at, what, "it was cut off, or copied without its end: fetch it again")
    if line in {b"\n", b"\r\n"}:  # an empty line of context without its blank, as some editors leave it
        return [*lines, b" " + line]
    if line[:1] in {b" ", b"+", b"-"}:
        return [*lines, line]
    raise Damaged(at, f"inside of a hunk, a line without blank, + or - at its start: {show(line)}")


def _name(text: bytes) -> bytes | None:
    """The name in a ``---`` or ``+++`` line; None for /dev/null. A tab ends it, a date follows."""
    text = text.rstrip(b"\r\n")
    name = _unquote(text) if text.startswith(b'"') else text.partition(b"\t")[0].rstrip(b" ")
    return None if name == NO_FILE else name


def _git_names(text: bytes) -> tuple[bytes, bytes]:
    """The two names of a ``diff --git`` line.

    Unquoted names may have blanks. The line has no other mark between them, so git looks for the place where
    the same name begins again; it needs them only where no other header names the file.
    """
    text = text.rstrip(b"\r\n")
    if text.startswith(b'"'):
        end = _end_of_quoted(text)
        return _unquote(text[:end]), _unquote(text[end:].strip(b" "))
    if text.endswith(b'"'):
        first, _, second = text.partition(b' "')
        return first, _unquote(b'"' + second)
    blanks = [at for at, character in enumerate(text) if character == ord(" ")]
    for at in blanks:
        first, second = text[:at], text[at + 1 :]
        if first == second or first.partition(b"/")[2] == second.partition(b"/")[2] != b"":
            return first, second
    first, _, second = text.partition(b" ")
    return first, second


def _end_of_quoted(text: bytes) -> int:
    match = re.match(rb'"(?:[^"\\]|\\.)*"', text, re.DOTALL)
    return match.end() if match else len(text)


def _unquote(text: bytes) -> bytes:
    text = text.rstrip(b"\r\n")
    if not text.startswith(b'"'):
        return text

    def plain(match: re.Match[bytes]) -> bytes:
        code = match[1]
        return bytes([int(code, 8) & 255]) if len(code) == 3 else _ESCAPED.get(code, code)

    return _ESCAPE.sub(plain, text[1 : _end_of_quoted(text) - 1])


def show(line: bytes, width: int = 72) -> str:
    """A line of a patch for a message: what cannot be printed is escaped, a long one is cut."""
    text = printable(line.rstrip(b"\r\n").decode(errors="backslashreplace").replace("\t", "    "))
    return text if len(text) <= width else f"{text[: width - 3]}..."
