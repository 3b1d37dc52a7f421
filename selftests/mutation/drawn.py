# SPDX-License-Identifier: GPL-2.0-or-later
"""Draw mutations at random, so that a change of one file changes only what is drawn in that file (pure)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from mutation.mutants import Mutant, behaves_otherwise


@dataclass(frozen=True, order=True)
class Possibility:
    """A mutation that can be made: the ``occurrence``-th of an operator in a file. ``line`` is from 1 on."""

    path: str
    line: int
    column: int
    operator: str
    occurrence: int


Mutate = Callable[[str, Possibility], str]


def draw(
    possibilities: Iterable[Possibility], sources: Mapping[str, str], mutate: Mutate, count: int, seed: int
) -> list[Mutant]:
    """So many mutants, each in another place: any place is as likely as any other.

    The places are in the order of a hash of the seed and of what is there, not of its line number. So
    most of a sample stays the same when the tree changes, and survivors can be followed up.
    """
    return list(islice(_in_order(possibilities, sources, mutate, seed), count))


def _in_order(
    possibilities: Iterable[Possibility], sources: Mapping[str, str], mutate: Mutate, seed: int
) -> Iterator[Mutant]:
    for choices in _shuffled(_places(possibilities), sources, seed):
        for choice in choices:
            before = sources[choice.path]
            after = mutate(before, choice)
            if behaves_otherwise(before, after):
                yield Mutant(choice.path, before, after, choice.operator.rpartition("/")[2])
                break


def _places(possibilities: Iterable[Possibility]) -> list[list[Possibility]]:
    """An operator may be replaced by any other, but is one place. In the order of the files' text."""
    places: dict[tuple[str, int, int], list[Possibility]] = {}
    for item in sorted(possibilities):
        places.setdefault((item.path, item.line, item.column), []).append(item)
    return list(places.values())


def _shuffled(
    places: list[list[Possibility]], sources: Mapping[str, str], seed: int
) -> list[list[Possibility]]:
    """The places in the order of their hashes, and the choices at each place as well."""
    lines = {path: source.splitlines() for path, source in sources.items()}
    seen: Counter[tuple[str, str, int]] = Counter()
    keyed: list[tuple[str, list[Possibility]]] = []
    for choices in places:
        first = choices[0]
        text = lines[first.path][first.line - 1]
        there = (first.path, text.strip(), first.column - (len(text) - len(text.lstrip())))
        seen[there] += 1  # the same line may be in a file twice
        key = (seed, *there, seen[there])
        keyed.append((_hash(key), _by_hash(choices, key)))
    return [choices for _, choices in sorted(keyed)]


def _by_hash(choices: list[Possibility], key: object) -> list[Possibility]:
    return sorted(choices, key=lambda choice: _hash((key, choice.operator, choice.occurrence)))


def _hash(key: object) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()
