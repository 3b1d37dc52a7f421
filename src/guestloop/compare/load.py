# SPDX-License-Identifier: GPL-2.0-or-later
"""Rounds of unlike load are not compared: load moves the rates themselves, not only their scatter.

A process that took 0.6 of a core beside a run raised the flushes per page-ready event by 36 to 48 %. A load
that begins between the rounds of two kernels would be a regression with any p-value one likes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from guestloop.results.records import Round

LIKE_LOAD = 1.3
"""Partners are compared if what was counted was slowed down alike in both, within this factor."""

UNLIKE = "the load of the machine changed between the rounds of the two kernels: none can be compared"


def of_like_load(
    reference: Sequence[Round], tested: Sequence[Round]
) -> tuple[tuple[Round, ...], tuple[Round, ...], list[int]]:
    """The rounds of both kernels without partners of unlike load, and the numbers of the rounds left out.

    Partners are rounds of one number, which ran next to each other. A round without a partner, and one whose
    load was not recorded, is kept.
    """
    partners = {item.round: item for item in tested}
    unlike = [
        item.round
        for item in reference
        if item.round in partners and not _is_like(item, partners[item.round])
    ]
    before, after = (
        tuple(item for item in rounds if item.round not in unlike) for rounds in (reference, tested)
    )
    return before, after, unlike


def _is_like(one: Round, other: Round) -> bool:
    slow = [each for each in (one.slowdown, other.slowdown) if each is not None]
    return len(slow) < 2 or max(slow) <= LIKE_LOAD * min(slow)


def mean_slowdown(rounds: Iterable[Round]) -> float | None:
    """Of those whose load was recorded; None if that is none of them."""
    seen = [each for each in (item.slowdown for item in rounds) if each is not None]
    return sum(seen) / len(seen) if seen else None
