# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of a limited width and number of lines."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from guestloop.ground.words import plural


def columns(text: str) -> int:
    """How wide a terminal shows it: East Asian wide characters take two columns, combining ones none."""
    return len(text) if text.isascii() else sum(map(_columns_of, text))


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def wrapped(text: str, width: int, indent: str = "", further: str | None = None) -> list[str]:
    """Lines of at most ``width`` columns, broken at blanks, and within a word that is longer than a line.

    ``indent`` begins the first line, and ``further`` each one after it; that is as wide a blank by default.
    """
    further = " " * len(indent) if further is None else further
    lines, current = [], indent
    for part in _parts(text, width - max(len(indent), len(further))):
        joined = f"{current} {part}" if current not in (indent, further) else f"{current}{part}"
        if columns(joined) > width:
            lines.append(current)
            joined = f"{further}{part}"
        current = joined
    return [*lines, current]


def _parts(text: str, width: int) -> Iterator[str]:
    """The words of a text, those that are too wide in pieces."""
    for whole in text.split():
        piece = ""
        for character in whole:
            if columns(piece + character) > width:
                yield piece
                piece = ""
            piece += character
        yield piece


@dataclass(frozen=True)
class Section:
    """A part of a text: its heading, then items of one or more lines, of which the last may be left out.

    ``keeps`` are so many items that others are left out before any of them is. ``cut`` is how many were.
    ``spare`` is above 0 for a section that can be left out as a whole, those with the highest one first.
    """

    heading: tuple[str, ...]
    items: tuple[tuple[str, ...], ...] = ()
    keeps: int = 0
    cut: int = 0
    spare: int = 0

    @property
    def lines(self) -> tuple[str, ...]:
        """The heading, the items, and how many are left out."""
        more = (f"  and {self.cut} more",) if self.cut else ()
        return (*self.heading, *(line for item in self.items for line in item), *more)

    @property
    def shorter(self) -> Section:
        """Without its last item."""
        return replace(self, items=self.items[:-1], cut=self.cut + 1)


def fitted(sections: Sequence[Section], most: int, missing: str = "") -> list[str]:
    """The lines of all sections with an empty one between, at most ``most``.

    The longest sections lose what they need not keep, then all but one item each, and then that one. Where
    that is not enough, whole sections are left out, and ``missing`` stands in place of the first. Raises
    ValueError if the headings of those that must stay are too many.
    """
    kept = list(sections)
    while sum(len(one.lines) for one in kept) + len(kept) - 1 > most:
        at = _longest(kept)
        if at is not None:
            kept[at] = kept[at].shorter
            continue
        at = max(range(len(kept)), key=lambda index: (kept[index].spare, index))
        if not kept[at].spare:
            raise ValueError(f"{plural(len(kept), 'heading')} do not fit into {most} lines")
        kept[at : at + 1] = [Section((missing,))] if missing else []
        missing = ""
    return [line for one in kept for line in (*one.lines, "")][:-1]


def _longest(sections: Sequence[Section]) -> int | None:
    """Where an item is left out next: in the longest section, of those that can spare one best."""
    for most in (lambda one: one.keeps, lambda _: 1, lambda _: 0):
        spare = [at for at, one in enumerate(sections) if len(one.items) > most(one)]
        if spare:
            return max(spare, key=lambda at: len(sections[at].lines))
    return None
