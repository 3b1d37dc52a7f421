# SPDX-License-Identifier: GPL-2.0-or-later
"""Neighbours in a series, round by round: which of their rounds are partners."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count

from guestloop.compare.load import of_like_load
from guestloop.history.rates import gives_rate
from guestloop.results.records import Round

Pair = tuple[tuple[Round, ...], tuple[Round, ...]]
"""Rounds of one cell on two kernels."""


def paired(before: Sequence[Round], after: Sequence[Round]) -> Pair:
    """The rounds of one cell on two kernels, numbered from 1 so that partners have one number.

    Rounds that ran next to each other are partners. The others are so in their order: kernels that were
    measured in two runs are compared where the load of the machine was alike, and by the same rule.
    """
    together = {item.round for item in before} & {item.round for item in after}
    numbers = count(1)
    shared = {number: next(numbers) for number in sorted(together)}
    first = next(numbers)
    return tuple(_numbered(before, shared, first)), tuple(_numbered(after, shared, first))


def _numbered(rounds: Sequence[Round], shared: dict[int, int], first: int) -> Iterator[Round]:
    rest = sorted(item.round for item in rounds if item.round not in shared)
    numbers = {**shared, **dict(zip(rest, count(first), strict=False))}
    for item in rounds:
        # What a round repeats is in the same run, and so on the same kernel.
        repeats = numbers.get(item.repeats, 0)
        yield replace(item, round=numbers[item.round], repeats=repeats)


def of_rates(pair: Pair) -> Pair:
    """Of these the rounds that give rates and whose partners ran under like load; both empty if none does."""
    before, after = (tuple(filter(gives_rate, rounds)) for rounds in pair)
    before, after, _ = of_like_load(before, after)
    return (before, after) if before and after else ((), ())
