# SPDX-License-Identifier: GPL-2.0-or-later
"""The names in a diff, and how many leading directories to take off them (pure).

``git diff`` writes ``a/mm/x.c``, one with diff.noprefix ``mm/x.c``, ``diff -u`` whatever it was called with.
Taking off the wrong number is dangerous: tools/include in a kernel has files by the same names as include. So
the number is taken for which most names are in the source, and where nothing decides, what the headers say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from guestloop.sources.diff import Change

LEVELS = range(5)


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


def directories(changes: Sequence[Change]) -> set[bytes]:
    """All directories that a diff may mean to put a new file into."""
    named = (one for level in LEVELS for one in resolve(changes, level))
    return {directory_of(one) for one in named if one.old is None} - {b""}


def directory_of(one: Named) -> bytes:
    """That of its new name, empty at the top."""
    return (one.new or b"").rpartition(b"/")[0]


def candidates(changes: Sequence[Change]) -> set[bytes]:
    """All names that a diff may mean."""
    named = (one for level in LEVELS for one in resolve(changes, level))
    return {name for one in named for name in (one.old, one.new) if name}


def find_level(
    changes: Sequence[Change], is_file: Callable[[bytes], bool], is_directory: Callable[[bytes], bool]
) -> int:
    """The number of leading directories to take off."""

    def score(level: int) -> int:
        if any(name.count(b"/") < level for change in changes for name in change.header if name):
            return -1
        return sum(_is_there(one, is_file, is_directory) for one in resolve(changes, level))

    first = 1 if all(map(has_prefixes, changes)) else 0
    return max(sorted(LEVELS, key=lambda level: (level != first, level)), key=score)


def has_prefixes(change: Change) -> bool:
    """Whether the two names begin differently, or as git's do: the first directory is none of the source."""
    firsts = {name.partition(b"/")[0] for name in change.header if name}
    return len(firsts) > 1 or firsts <= {b"a", b"b"}


def _is_there(one: Named, is_file: Callable[[bytes], bool], is_directory: Callable[[bytes], bool]) -> bool:
    if one.old is not None:
        return is_file(one.old)
    directory = directory_of(one)
    return bool(directory) and is_directory(directory)
