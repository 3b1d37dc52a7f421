# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a change does not fit a source, in words (pure)."""

from __future__ import annotations

import html
import quopri
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from guestloop.sources import text
from guestloop.sources.diff import Hunk, show
from guestloop.sources.names import Named

RELATIVE = "names in a diff begin at the top of the source: git diff, or diff -ru linux.orig linux"
SHOWN = 4  # lines of a hunk, and of what stands there


@dataclass(frozen=True)
class Misfit:
    """A file of a patch that does not fit, why, lines that show it, and what to do if that is clear.

    ``is_refused``: whatever git would make of it. ``missing`` is the name of a file that is not there.
    """

    file: str
    why: str
    lines: tuple[str, ...] = ()
    hint: str = ""
    is_refused: bool = False
    missing: bytes = b""

    def __str__(self) -> str:
        return f"{self.file}: {self.why}"


def of_file(named: Named, read: Callable[[bytes], list[bytes] | None]) -> Misfit | None:
    """What is wrong with the files that a change names, None if nothing is."""
    change, shown = named.change, named.shown
    for name in (named.old, named.new):
        if name is not None and is_outside(name):
            hint = RELATIVE if name.startswith(b"/") else ""
            return Misfit(shown, "touches a file outside of the source tree", hint=hint, is_refused=True)
    there = read(named.new) if named.new else None
    if there is not None and named.old != named.new:
        made = [line for hunk in change.hunks for line in hunk.after]
        if there == made and named.old is None:
            return Misfit(shown, "already contains the change")
        return Misfit(shown, "the patch would create it, but it is already there")
    if named.old is not None and read(named.old) is None:
        old = named.old.decode(errors="backslashreplace")
        return Misfit(old, "no such file in the source", missing=named.old)
    return None


def is_outside(name: bytes) -> bool:
    """Whether a name leads out of a source tree, or into a repository's own files."""
    parts = name.split(b"/")
    return name.startswith(b"/") or b".." in parts or any(part.lower() == b".git" for part in parts)


def without_context(named: Named, hunk: Hunk, lines: Sequence[bytes]) -> Misfit | None:
    """A hunk that says nothing about where it belongs but a number, unless it is about the whole file."""
    if hunk.has_context or named.old is None or named.new is None or list(hunk.before) == list(lines):
        return None
    return Misfit(
        named.shown,
        f"hunk {hunk.number} at line {hunk.old_start} has no line of context, so its place cannot be checked",
        hint="make the diff with context: git diff -U3",
        is_refused=True,
    )


def left_over(named: Named, lines: Sequence[bytes]) -> Misfit:
    """The patch would delete a file that has more lines."""
    return Misfit(
        named.shown,
        f"the patch would delete it, but it has {len(lines)} more lines",
        tuple(_block("the source has", lines[:SHOWN])),
    )


def of_hunk(named: Named, hunk: Hunk, lines: list[bytes]) -> Misfit:
    """Why a hunk fits nowhere in a file."""

    def misfit(why: str, hint: str = "", shown: Sequence[str] = ()) -> Misfit:
        what = f"hunk {hunk.number} at line {hunk.old_start} {why}"
        lines = (f"  {named.shown}:", *shown) if shown else ()
        return Misfit(named.shown, what, lines, hint)

    if hunk.after and _stands(lines, hunk.after) is not None and any(line[:1] == b"+" for line in hunk.lines):
        return Misfit(named.shown, "already contains the change")
    if (at := _stands(lines, hunk.before)) is not None:
        edge = "beginning" if hunk.old_start <= 1 else "end"
        return misfit(
            f"belongs to the {edge} of the file by its context, but its lines stand at line {at + 1}"
        )
    for same, why, hint in _DISGUISES:
        wanted = [same(line) for line in hunk.before]
        if (at := _stands([same(line) for line in lines], wanted)) is not None:
            return misfit(f"does not match the source: {why}", hint, list(_compare(hunk, lines, at)))
    return misfit("does not match the source", shown=list(_compare(hunk, lines, _closest(hunk, lines))))


def _line_end(line: bytes) -> bytes:
    return line.rstrip(b"\r\n")


def _blanks(line: bytes) -> bytes:
    return b"".join(line.replace(b"\xc2\xa0", b" ").split())


def _printable(line: bytes) -> bytes:
    """A line of quoted-printable as it was before; a soft line break cannot be seen in it."""
    return _blanks(quopri.decodestring(line))


def _escapes(line: bytes) -> bytes:
    return _blanks(html.unescape(line.decode(errors="surrogateescape")).encode(errors="surrogateescape"))


# What makes lines differ that were the same once, the least first.
_DISGUISES: tuple[tuple[Callable[[bytes], bytes], str, str], ...] = (
    (
        _line_end,
        "the ends of the lines differ (CR LF and LF)",
        "make the patch from a source with these line ends, and send or save it unchanged",
    ),
    (_blanks, "white space differs: blanks or tabs were changed on the way", text.RAW_HINT),
    (_printable, "it is quoted-printable that nobody decoded (=3D for =)", text.RAW_HINT),
    (_escapes, "it was copied from a web page, which has &lt; for <", text.RAW_HINT),
)


def _stands(lines: Sequence[bytes], wanted: Sequence[bytes]) -> int | None:
    """Where these lines stand first."""
    size = len(wanted)
    if not wanted:
        return None
    return next(
        (
            at
            for at in range(len(lines) - size + 1)
            if lines[at] == wanted[0] and list(lines[at : at + size]) == list(wanted)
        ),
        None,
    )


def _closest(hunk: Hunk, lines: Sequence[bytes]) -> int:
    """Where most lines of a hunk stand as it has them, or where its header says if none does."""
    expected = max(hunk.new_start - 1, 0)
    wanted: dict[bytes, list[int]] = {}
    for number, line in enumerate(hunk.before):
        if len(line.strip()) > 1:  # not an empty one or a brace, which is everywhere
            wanted.setdefault(line, []).append(number)
    votes = Counter(at - number for at, line in enumerate(lines) for number in wanted.get(line, ()))
    best = max(votes, key=lambda at: (votes[at], -abs(at - expected)), default=expected)
    return min(max(best, 0), max(len(lines) - 1, 0))


def _compare(hunk: Hunk, lines: Sequence[bytes], at: int) -> Iterator[str]:
    """The lines from the first difference on: those of the hunk, and those that stand there."""
    wanted = hunk.before
    there = lines[at : at + len(wanted)]
    first = next((n for n, (a, b) in enumerate(zip(wanted, there, strict=False)) if a != b), len(there))
    first = min(first, max(len(wanted) - 1, 0))
    yield from _block(f"hunk {hunk.number} wants", wanted[first : first + SHOWN])
    has = lines[at + first : at + first + SHOWN]
    yield from _block(
        f"the source has, from line {at + first + 1} on" if has else "the source ends there", has
    )


def _block(title: str, lines: Sequence[bytes]) -> Iterator[str]:
    yield f"  {title}{':' if lines else ''}"
    yield from (f"    | {_visible(line)}" for line in lines)


def _visible(line: bytes) -> str:
    return show(line) + ("\\r" if line.endswith((b"\r\n", b"\r")) else "")
