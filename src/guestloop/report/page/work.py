# SPDX-License-Identifier: GPL-2.0-or-later
"""What happened in the rounds of a cell: flush requests by phase, what proves the work, the rounds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from guestloop.counters import FLUSH_REQUESTS
from guestloop.report.results import CellResult
from guestloop.results.findings import Bearing
from guestloop.results.records import Correctness, Outcome, Round

MOST_ROUNDS = 12
"""Of one kernel; all of them are in verdict.json."""

_NUMBER = re.compile(r"\d+$")

MOST_FINDINGS = 12
LONGEST_FINDING = 4000
"""Characters: a console of a panic has its place in the evidence."""


@dataclass(frozen=True)
class Link:
    """A file below the result directory: its name, and its address if it is there."""

    name: str
    address: str


@dataclass(frozen=True)
class FindingRow:
    """What a round found: the first line stands alone, the rest is as a program wrote it."""

    kernel: str
    round: int
    bearing: Bearing
    kind: str
    meaning: str
    first: str
    rest: str


@dataclass(frozen=True)
class RoundRow:
    """One round."""

    kernel: str
    number: int
    outcome: str
    wrong: bool
    contents: str
    events: int | None
    flushes: int | None
    seconds: float
    remarks: tuple[str, ...]
    files: tuple[Link, ...]


@dataclass(frozen=True)
class Bar:
    """The mean of a phase on one kernel, and its share of the largest one; None where no round had it."""

    mean: float
    share: float


@dataclass(frozen=True)
class PhaseRow:
    """A phase of the rounds; ``dirty``: pages are sent in it, a dirty round of migration."""

    name: str
    bars: tuple[Bar | None, ...]


@dataclass(frozen=True)
class EventRow:
    """What proves the work: all rounds of each kernel together; ``counted``: flushes are related to it."""

    name: str
    counts: tuple[int, ...]
    counted: bool


def findings(cell: CellResult) -> tuple[tuple[FindingRow, ...], int]:
    """The first of them, what is wrong before what proves nothing, and how many more there are."""
    found = [
        FindingRow(item.kernel, item.round, one.kind.bearing, one.kind, one.kind.meaning, *_split(one.text))
        for item in cell.rounds
        for one in item.findings
    ]
    found.sort(key=lambda one: list(Bearing).index(one.bearing))
    return tuple(found[:MOST_FINDINGS]), max(0, len(found) - MOST_FINDINGS)


def _split(text: str) -> tuple[str, str]:
    first, _, rest = text.partition("\n")
    return first, rest[:LONGEST_FINDING] + (" […]" if len(rest) > LONGEST_FINDING else "")


def phase_rows(cell: CellResult, kernels: Sequence[str]) -> tuple[PhaseRow, ...]:
    """Flush requests in each phase, on average over the rounds that had it. A single phase is the round."""
    measured = {name: [one for one in cell.on(name) if _is_measured(one)] for name in kernels}
    names = _phases([item for rounds in measured.values() for item in rounds])
    means = {phase: [_mean(measured[kernel], phase) for kernel in kernels] for phase in names}
    most = max((mean for row in means.values() for mean in row if mean), default=0.0) or 1.0
    if len(names) < 2:
        return ()
    return tuple(
        PhaseRow(phase, tuple(None if mean is None else Bar(mean, mean / most) for mean in row))
        for phase, row in means.items()
    )


def _phases(rounds: Sequence[Round]) -> list[str]:
    """The phases of all rounds in order, though some have more dirty rounds than others."""
    names: list[str] = []
    for item in rounds:
        place = 0
        for name in item.phases:
            if name in names:
                place = names.index(name) + 1
            else:
                names.insert(place, name)
                place += 1
    return [name for group in _groups(names) for name in sorted(group, key=_number)]


def _groups(names: Sequence[str]) -> Iterator[list[str]]:
    """Neighbours that differ in their number alone: dirty rounds, of which no round need have all."""
    for _, group in groupby(names, lambda name: _NUMBER.sub("", name)):
        yield list(group)


def _number(name: str) -> int:
    found = _NUMBER.search(name)
    return int(found[0]) if found else 0


def _mean(rounds: Sequence[Round], phase: str) -> float | None:
    seen = [item.phases[phase].counters.get(FLUSH_REQUESTS, 0) for item in rounds if phase in item.phases]
    return sum(seen) / len(seen) if seen else None


def event_rows(cell: CellResult, kernels: Sequence[str]) -> tuple[EventRow, ...]:
    """Events and the work of the guest, of all measured rounds; what was counted nowhere is left out."""
    measured = {name: [one for one in cell.on(name) if _is_measured(one)] for name in kernels}
    every = [item for rounds in measured.values() for item in rounds]
    names = dict.fromkeys(name for item in every for name in (*item.events, *item.work))
    counted = {item.event for item in every}
    rows = [
        EventRow(name, tuple(_total(measured[one], name) for one in kernels), name in counted)
        for name in names
    ]
    return tuple(sorted((row for row in rows if any(row.counts)), key=lambda row: not row.counted))


def _total(rounds: Sequence[Round], name: str) -> int:
    return sum(item.events.get(name, item.work.get(name, 0)) for item in rounds)


def round_rows(
    cell: CellResult, kernels: Sequence[str], out: Path | None
) -> tuple[tuple[RoundRow, ...], int]:
    """The first rounds of each kernel, wrong ones before others, and how many more there are."""
    rows: list[RoundRow] = []
    for name in kernels:
        rounds = sorted(cell.on(name), key=lambda item: not (item.is_wrong or item.is_invalid))[:MOST_ROUNDS]
        rows += [_round(cell, item, out) for item in sorted(rounds, key=lambda item: item.round)]
    return tuple(rows), len(cell.rounds) - len(rows)


def _round(cell: CellResult, item: Round, out: Path | None) -> RoundRow:
    measured, record = _is_measured(item), f"rounds/{cell.id}/{item.kernel}.{item.round}.json"
    return RoundRow(
        kernel=item.kernel,
        number=item.round,
        outcome="wrong" if item.is_wrong else _outcome(item),
        wrong=item.is_wrong,
        contents={Correctness.PASS: "correct", Correctness.FAIL: "wrong"}.get(
            item.correctness, "not checked"
        ),
        events=item.events.get(item.event, 0) if measured and item.event else None,
        flushes=item.counters.get(FLUSH_REQUESTS) if measured else None,
        seconds=item.seconds,
        remarks=tuple(_remarks(item)),
        files=tuple(link(path, out) for path in (record, *item.evidence)),
    )


def _outcome(item: Round) -> str:
    if item.is_invalid:
        return str(Outcome.INVALID)
    return str(Outcome.SKIPPED if item.is_skipped else item.outcome)


def _remarks(item: Round) -> Iterator[str]:
    if item.repeats:
        yield f"repeats round {item.repeats}"
    if item.is_disturbed:
        yield "probed: gives no rate"
    elif item.probed:
        yield "probed"
    if item.slowdown and item.slowdown > 1.5:
        yield f"{item.slowdown:.1f} times as slow as on an idle machine"


def link(path: str, out: Path | None) -> Link:
    """A file of the results, whatever it is called; its address is empty if it is not there."""
    return Link(path.rpartition("/")[2], quote(path) if out and is_there(path, out) else "")


def is_there(path: str, out: Path) -> bool:
    """A file below the result directory, as records name them, and no other."""
    return ".." not in path.split("/") and not path.startswith("/") and (out / path).is_file()


def _is_measured(item: Round) -> bool:
    return item.outcome is Outcome.MEASURED
