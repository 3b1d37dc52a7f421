# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a cell can differ between two kernels: not, if nothing that differs between them runs in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from guestloop.results.changes import Changes, Probed
from guestloop.results.records import Round


@dataclass(frozen=True)
class Ran:
    """Functions that differ were called: ``hits`` by kernel, then function.

    ``source`` names the results of an earlier run of the same two builds, if that has seen it.
    """

    hits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class NeverRan:
    """Nothing that differs between the two kernels runs in this cell: it cannot differ."""


@dataclass(frozen=True)
class Unproven:
    """No function that differs was seen to run, but something may have: why that cannot be told."""

    why: str


def reach_of(
    changes: Changes, reference: Sequence[Round], candidate: Sequence[Round], known: Ran | None = None
) -> Ran | NeverRan | Unproven:
    """What is known of a cell from its rounds on both kernels.

    ``changes`` is what differs between the two, ``known`` what an earlier run has seen. Rounds without probes
    say nothing, and rounds that prove nothing say only what ran.
    """
    wanted = {
        "reference": (reference, [one.id for one in changes.functions if one.reference]),
        "candidate": (candidate, [one.id for one in changes.functions if one.candidate]),
    }
    hits: dict[str, Mapping[str, int]] = {}
    for rounds, functions in wanted.values():
        if seen := _hits(rounds, functions):
            hits[rounds[0].kernel] = seen
    if hits:
        return Ran(hits)
    if known:
        return known
    why = next(_doubts(changes), "") or next(
        (why for side, (rounds, functions) in wanted.items() for why in _unprobed(side, rounds, functions)),
        "",
    )
    return Unproven(why) if why else NeverRan()


def _probed(rounds: Sequence[Round]) -> list[Probed]:
    return [item.probed for item in rounds if item.probed]


def _hits(rounds: Sequence[Round], functions: Sequence[str]) -> dict[str, int]:
    counts = {name: sum(probed.hits.get(name, 0) for probed in _probed(rounds)) for name in functions}
    return {name: count for name, count in counts.items() if count}


def _doubts(changes: Changes) -> Iterator[str]:
    """What speaks against every cell of these two builds."""
    if changes.data:
        yield f"data differs, whose use nothing counts: {', '.join(changes.data)}"
    for function in changes.functions:
        if function.unprobeable:
            yield f"{function.id} cannot be probed: {function.unprobeable}"


def _unprobed(side: str, rounds: Sequence[Round], functions: Sequence[str]) -> Iterator[str]:
    if not functions:
        return  # nothing of what differs exists in this kernel
    valid = _probed([item for item in rounds if not item.is_invalid and not item.is_skipped])
    if not valid:
        yield f"no round on the {side} that proves anything ran with probes"
        return
    best = max(valid, key=lambda probed: len(probed.hits.keys() & functions))
    for name in functions:
        if name not in best.hits:
            why = best.unprobed.get(name, "no probe was armed for it")
            yield f"{name} was not probed on {rounds[0].kernel}: {why}"
