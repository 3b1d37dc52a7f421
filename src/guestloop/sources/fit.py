# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the hunks of a diff go in a source, and why one goes nowhere (pure).

git says neither in a form that can be read. So its rule is followed here (apply.c, ``apply_one_fragment`` and
``find_pos``): the lines that a hunk wants must all be there, in one piece, unchanged. Of several such places
the nearest to the line in its header is taken, the later one of two as near. A hunk that begins at line 1
must be at the beginning of the file, and one without context at its end must be at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guestloop.sources import misfits
from guestloop.sources.diff import Hunk, split_lines
from guestloop.sources.misfits import Misfit
from guestloop.sources.names import Named


@dataclass(frozen=True)
class Offset:
    """A hunk that went elsewhere than its header says: lines of the file as it was before the patch.

    ``places`` is the number of places where it fits.
    """

    file: str
    hunk: int
    wanted: int
    found: int
    places: int

    def __str__(self) -> str:
        others = f", one of {self.places} places where it fits" if self.places > 1 else ""
        return f"{self.file} hunk {self.hunk} at line {self.found} instead of {self.wanted}{others}"


@dataclass(frozen=True)
class Fit:
    """What became of a diff: hunks that are off, and what keeps it from being applied."""

    offsets: tuple[Offset, ...]
    misfits: tuple[Misfit, ...]


class Files:
    """The files of a source, as the changes so far have left them; None: no such file."""

    def __init__(self, found: Mapping[bytes, bytes | None]) -> None:
        self._now = {name: split_lines(data) if data is not None else None for name, data in found.items()}

    def __getitem__(self, name: bytes) -> list[bytes] | None:
        return self._now.get(name)

    def __setitem__(self, name: bytes, lines: list[bytes] | None) -> None:
        self._now[name] = lines


def fit(changes: Sequence[Named], files: Files) -> Fit:
    """Follow a diff through the files that it changes."""
    offsets: list[Offset] = []
    wrong: list[Misfit] = []
    for named in changes:
        _follow(named, files, offsets, wrong)
    return Fit(tuple(offsets), tuple(wrong))


def _follow(named: Named, files: Files, offsets: list[Offset], wrong: list[Misfit]) -> None:
    change = named.change
    if refused := misfits.of_file(named, lambda name: files[name]):
        wrong.append(refused)
        return
    lines = list(files[named.old] or []) if named.old else []
    misses = len(wrong)
    for hunk in change.hunks:
        if refused := misfits.without_context(named, hunk, lines):
            wrong.append(refused)
        elif place := find_place(lines, hunk):
            if place.found != place.wanted:
                moved = hunk.old_start + place.found - place.wanted
                offsets.append(Offset(named.shown, hunk.number, hunk.old_start, moved, place.count))
            lines[place.found : place.found + len(hunk.before)] = hunk.after
        else:
            wrong.append(misfits.of_hunk(named, hunk, lines))
    if named.new is None and lines and not change.is_binary and len(wrong) == misses:
        wrong.append(misfits.left_over(named, lines))
    if named.old and (named.new is None or (named.new != named.old and not change.is_copy)):
        files[named.old] = None
    if named.new:
        files[named.new] = lines


@dataclass(frozen=True)
class Place:
    """Where a hunk goes, and where its header says (both count from 0).

    If these differ, ``count`` is the number of places where it fits.
    """

    found: int
    wanted: int
    count: int


def find_place(lines: Sequence[bytes], hunk: Hunk) -> Place | None:
    """Find the place that git takes for a hunk."""
    wanted = max(hunk.new_start - 1, 0)
    if hunk.old_start > 1 and hunk.ends_in_context and _fits(lines, hunk.before, wanted):
        return Place(wanted, wanted, 1)  # as most do: a search through the file for each takes minutes
    last = len(lines) - len(hunk.before)
    expected = wanted
    found = matches(lines, hunk.before)
    if hunk.old_start <= 1:
        expected, found = 0, [at for at in found if at == 0]
    if not hunk.ends_in_context:
        expected, found = last, [at for at in found if at == last]
    if not found:
        return None
    nearest = min(found, key=lambda at: (abs(at - expected), at < expected))
    return Place(nearest, wanted, len(found))


def matches(lines: Sequence[bytes], wanted: Sequence[bytes]) -> list[int]:
    """Every place where these lines stand."""
    if not wanted:
        return [len(lines)]
    rarest = _rarest(lines, wanted)
    starts = (at - rarest for at, line in enumerate(lines) if line == wanted[rarest])
    return [at for at in starts if at >= 0 and _fits(lines, wanted, at)]


def _fits(lines: Sequence[bytes], wanted: Sequence[bytes], at: int) -> bool:
    return list(lines[at : at + len(wanted)]) == list(wanted)


def _rarest(lines: Sequence[bytes], wanted: Sequence[bytes]) -> int:
    """The line to look for first: a kernel file has hundreds of empty ones."""
    known = set(wanted)
    count = Counter(line for line in lines if line in known)
    return min(range(len(wanted)), key=lambda at: count[wanted[at]])
