# SPDX-License-Identifier: GPL-2.0-or-later
"""The turns of a migration: marks that the agent took, and the phases between them (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from guestloop.ground.units import PAGE
from guestloop.results.records import Phase
from guestloop.workloads.reading import Reading

if TYPE_CHECKING:
    from guestloop.agent.migration import Mark as AgentMark

ROUND = "round-"


@dataclass(frozen=True)
class Mark:
    """A reading where the phase ``label`` begins, ``at_s`` on L1's clock.

    ``rounds`` are the dirty rounds so far, ``sent`` the pages, ``left`` those known to be dirty then. The
    counters of the reading are those of source and destination together, as the call paths are.
    """

    label: str
    at_s: float
    rounds: int
    sent: int
    left: int
    multifd_bytes: int
    reading: Reading


def turn_of(mark: AgentMark) -> Mark:
    """A mark as the agent took it, with the counters of both guests added up."""
    ram = mark.migration.get("ram", {})
    return Mark(
        label=mark.label,
        at_s=mark.at_s,
        rounds=ram.get("dirty-sync-count", 0),
        sent=ram.get("normal", 0) + ram.get("duplicate", 0),
        left=ram.get("remaining", 0) // PAGE,
        multifd_bytes=ram.get("multifd-bytes", 0),
        reading=Reading(total(mark.source, mark.destination), mark.vmstat, mark.histograms),
    )


def phases_of(marks: Sequence[Mark], request: int) -> dict[str, Phase]:
    """What was counted in each phase; turns of the same name are one phase. The last mark only ends one."""
    phases: dict[str, Phase] = {}
    for early, late in pairwise(marks):
        part, _ = late.reading.since(early.reading, late.at_s - early.at_s, request)
        phases[early.label] = add(phases[early.label], part) if early.label in phases else part
    return phases


def add(one: Phase, other: Phase) -> Phase:
    """Two parts of a phase as one."""
    return Phase(
        one.seconds + other.seconds,
        total(one.counters, other.counters),
        total(one.paths, other.paths),
        total(one.requests, other.requests),
    )


def total(*parts: Mapping[str, int]) -> dict[str, int]:
    """Counts added up by name."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0) for part in parts) for name in names}


def rounds_of(marks: Sequence[Mark]) -> dict[str, float]:
    """When each dirty round began, by name, in order."""
    return {mark.label: mark.at_s for mark in marks if mark.label.startswith(ROUND)}


def redirtied(marks: Sequence[Mark]) -> list[int]:
    """Pages found dirty again in each dirty round after the first whose end was seen.

    Some may have been sent already when the mark was taken, so it is the larger of what was left then and
    what was sent until the next. A round that was given up as it began, by a cancel, tells nothing.
    """
    seen = [mark for mark in marks if mark.label.startswith(ROUND)]
    last = [mark for mark in marks if mark.sent][-1:]
    pairs = list(zip(seen, [*seen[1:], *last], strict=False))[1:]
    return [max(early.left, late.sent - early.sent) for early, late in pairs if late is not early]


def sent_again(marks: Sequence[Mark]) -> int:
    """Pages sent after the first dirty round, in which every page is sent once."""
    sent = [mark.sent for mark in marks if mark.rounds > 1]
    return max(sent) - sent[0] if sent else 0


def table(marks: Sequence[Mark]) -> list[dict[str, float | str]]:
    """The marks for a reader: when, what began, and the source's figures."""
    return [
        {
            "phase": mark.label,
            "at_s": round(mark.at_s - marks[0].at_s, 3),
            "rounds": mark.rounds,
            "pages_sent": mark.sent,
            "pages_left": mark.left,
        }
        for mark in marks
    ]
