# SPDX-License-Identifier: GPL-2.0-or-later
"""The names in a diff, and how many leading directories to take off them (pure).

``git diff`` writes ``a/mm/x.c``, one with diff.noprefix ``mm/x.c``, ``diff -u`` whatever it was called with.
Taking off the wrong number is dangerous: tools/include in a kernel has files by the same names as include. So
the number is taken for which most names are in the source, and where nothing decides, what the headers say.
A new file is in no source. Its top directory speaks for a number, unless git's own prefixes do: a/ and b/.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from guestloop.sources.diff import Change

LEVELS = range(5)
ABSOLUTE_LEVELS = range(12)
_GITS_OWN = {b"a", b"b"}


@dataclass(frozen=True)
class Named:
    """A change with the names that it has in the source; None: no such file."""

    change: Change
    old: bytes | None
    new: bytes | None

    @property
    def shown(self) -> str:
        return (self.new or self.old or b"").decode(errors="backslashreplace")


def resolve(changes: Sequence[Change], level: int) -> tuple[Named, ...]:
    """The changes with ``level`` leading directories taken off their names."""
    return tuple(_resolve(change, level) for change in changes)


def _resolve(change: Change, level: int) -> Named:
    if change.moved:  # these names never had a prefix
        return Named(change, *(strip(name, max(level - 1, 0)) for name in change.moved))
    old, new = (strip(name, level) if name is not None else None for name in (change.old, change.new))
    if old and new and not change.is_git:
        # a.c.orig and a.c, or files in two directories: git takes the shorter name for that of the source.
        old = new = min(old, new, key=len)
    return Named(change, old, new)


def strip(name: bytes, level: int) -> bytes:
    """A name without its first directories."""
    return name.split(b"/", level)[-1]


def candidates(changes: Sequence[Change]) -> set[bytes]:
    """All names that a diff may mean."""
    named = (one for level in _levels(changes) for one in resolve(changes, level))
    return {name for one in named for name in (one.old, one.new) if name}


def _levels(changes: Sequence[Change]) -> range:
    """How many directories may have to go: more of names that begin at the root of a file system."""
    names = (name for change in changes for name in change.header if name)
    return ABSOLUTE_LEVELS if any(name.startswith(b"/") for name in names) else LEVELS


def find_level(
    changes: Sequence[Change], is_file: Callable[[bytes], bool], is_directory: Callable[[bytes], bool]
) -> int:
    """The number of leading directories to take off."""

    prefixed = all(map(has_prefixes, changes))
    first = 1 if prefixed else 0
    by_git = prefixed and _firsts(changes) <= _GITS_OWN

    def score(level: int) -> int:
        if any(name.count(b"/") < level for change in changes for name in change.header if name):
            return -1
        named = resolve(changes, level)
        there = sum(one.old is not None and is_file(one.old) for one in named)
        if by_git and level != first:
            return there
        return there + sum(one.old is None and _has_top(one, is_directory) for one in named)

    return max(sorted(_levels(changes), key=lambda level: (level != first, level)), key=score)


def _firsts(changes: Sequence[Change]) -> set[bytes]:
    return {name.partition(b"/")[0] for change in changes for name in change.header if name}


def has_prefixes(change: Change) -> bool:
    """Whether the two names begin differently, or as git's do: the first directory is none of the source."""
    firsts = _firsts([change])
    return len(firsts) > 1 or firsts <= _GITS_OWN


def _has_top(one: Named, is_directory: Callable[[bytes], bool]) -> bool:
    top, below, _ = (one.new or b"").partition(b"/")
    return bool(below) and is_directory(top)
