# SPDX-License-Identifier: GPL-2.0-or-later
"""A text with several diffs that follow each other, as ``git log -p`` or ``cat`` makes it, as several (pure).

For git all changes in one text are of one diff and happen at once: a file that is renamed is then taken as it
was before all of them, and what an earlier diff changed in it is lost without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from guestloop.sources.diff import Change, Diff, split_lines
from guestloop.sources.names import Named, has_prefixes, resolve

_COMMIT = re.compile(rb"(?:commit |From )?[0-9a-f]{7,40}(?: |$)|# HG changeset patch|changeset: ")


def split_parts(data: bytes, diff: Diff) -> tuple[bytes, ...]:
    """The texts of the diffs that a text has, each from its first header to its last hunk."""
    if not diff.changes:
        return ()
    lines = split_lines(data)
    cuts = _between_commits(lines, diff.changes) or list(_at_repeated_files(diff.changes))
    starts, ends = [0, *cuts], [*cuts, len(diff.changes)]
    return tuple(
        b"".join(lines[diff.changes[start].line - 1 : diff.changes[end - 1].end])
        for start, end in zip(starts, ends, strict=True)
    )


def _between_commits(lines: Sequence[bytes], changes: Sequence[Change]) -> list[int]:
    """Where a line between two changes names a commit."""
    between = (lines[one.end : other.line - 1] for one, other in pairwise(changes))
    return [
        number
        for number, text in enumerate(between, start=1)
        if any(_COMMIT.match(line.rstrip()) for line in text)
    ]


def _at_repeated_files(changes: Sequence[Change]) -> Iterator[int]:
    """Where a change is of a file as an earlier one has left it."""
    made: set[bytes] = set()
    gone: set[bytes] = set()
    level = 1 if all(map(has_prefixes, changes)) else 0
    for number, named in enumerate(resolve(changes, level)):
        if _is_later(named, made, gone):
            yield number
            made, gone = set(), set()
        made |= {named.new} if named.new else set()
        gone |= {named.old} if named.old and named.old != named.new and not named.change.is_copy else set()


def _is_later(named: Named, made: set[bytes], gone: set[bytes]) -> bool:
    if named.new in made:
        return True
    swapped = named.new in gone and named.old in made  # two files that change their names with each other
    return named.old in made and named.old != named.new and not named.change.is_copy and not swapped
