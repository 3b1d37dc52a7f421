# SPDX-License-Identifier: GPL-2.0-or-later
"""What each vCPU had done, told through the guest's port and so kept outside its RAM (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guestloop.ground.errors import GuestError
from guestloop.ground.words import parse_words


@dataclass(frozen=True)
class Entry:
    """A report of the payload: when it came (L1's clock, s), pages visited by each vCPU, wrong ones seen.

    ``writes``: pages that visits wrote, each once a visit.
    """

    at_s: float
    visits: tuple[int, ...]
    bad: int
    writes: int


def parse_entry(at_s: float, line: str) -> Entry:
    """A ``progress`` or ``stopped`` line. Raises GuestError when it tells of no vCPU."""
    words = parse_words(line)
    visits: list[int] = []
    while (name := f"v{len(visits)}") in words:
        visits.append(int(words[name]))
    if not visits:
        raise GuestError(f"the payload reported no vCPU's visits: {line!r}")
    return Entry(at_s, tuple(visits), int(words["bad"]), int(words["writes"]))


def parse_ledger(lines: Sequence[tuple[float, str]]) -> list[Entry]:
    """All reports of a guest, in order."""
    return [parse_entry(at_s, line) for at_s, line in lines]


@dataclass(frozen=True)
class Done:
    """Pages that a load visited and wrote."""

    visits: int
    writes: int


def done_between(ledger: Sequence[Entry], start_s: float, end_s: float) -> Done:
    """What a load did between two moments, by its last report before each; reports in the order of time.

    A guest goes on counting where it was migrated to. One that forgot what it had done did nothing.
    """
    early, late = (_done_until(ledger, moment) for moment in (start_s, end_s))
    return Done(max(0, late.visits - early.visits), max(0, late.writes - early.writes))


def _done_until(ledger: Sequence[Entry], moment_s: float) -> Done:
    before = [entry for entry in ledger if entry.at_s <= moment_s]
    return Done(sum(before[-1].visits), before[-1].writes) if before else Done(0, 0)


def lost_visits(before: Entry, after: Entry) -> list[str]:
    """vCPUs that on the destination have done less than they had reported on the source."""
    return [
        f"v{vcpu}: {late} visits after {early} were reported"
        for vcpu, (early, late) in enumerate(zip(before.visits, after.visits, strict=True))
        if late < early
    ]


def idle_vcpus(before: Entry, after: Entry) -> list[int]:
    """vCPUs that did nothing between two reports."""
    pairs = zip(before.visits, after.visits, strict=True)
    return [vcpu for vcpu, (early, late) in enumerate(pairs) if late <= early]


def round_at(rounds: Mapping[str, float], at_s: float) -> str:
    """The dirty round that was under way; ``rounds`` maps names to when each began."""
    begun = [name for name, start in rounds.items() if start <= at_s]
    return begun[-1] if begun else "before the migration"


def when_visited(ledger: Sequence[Entry], vcpu: int, visit: int) -> float | None:
    """When a vCPU had done so many visits, between which reports it was; None: not reported yet."""
    return next((entry.at_s for entry in ledger if entry.visits[vcpu] >= visit), None)
