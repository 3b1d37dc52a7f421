# SPDX-License-Identifier: GPL-2.0-or-later
"""A round in the making: what is counted while a workload runs, and what that proves."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from guestloop import counters
from guestloop.ground.errors import GuestloopError, Kind
from guestloop.results.cells import Cell
from guestloop.results.changes import Probed
from guestloop.results.findings import Bearing, Finding, FindingKind
from guestloop.results.load import Load
from guestloop.results.records import Correctness, Outcome, Phase, Round, Work
from guestloop.workloads.meter import LoadMeter
from guestloop.workloads.reading import Reading, take_reading

if TYPE_CHECKING:
    from guestloop.lab.client import L1, L2

FINDINGS = {
    Kind.LACKING: FindingKind.LACKING,
    Kind.TIMED_OUT: FindingKind.TIMED_OUT,
    Kind.LINK_LOST: FindingKind.LINK_LOST,
    Kind.NOT_BOOTED: FindingKind.NOT_BOOTED,
    Kind.L1_ENDED: FindingKind.L1_ENDED,
    Kind.L1_PANICKED: FindingKind.L1_PANICKED,
    Kind.L1_REBOOTED: FindingKind.L1_REBOOTED,
    Kind.MACHINE_FAULT: FindingKind.MACHINE_FAULT,
    Kind.REFUSED: FindingKind.REFUSED,
    Kind.GUEST_CRASHED: FindingKind.GUEST_CRASHED,
    Kind.GUEST_KILLED: FindingKind.GUEST_KILLED,
    Kind.GUEST_FAILED: FindingKind.GUEST_FAILED,
    Kind.GUEST_STUCK: FindingKind.STUCK,
    Kind.MIGRATION_FAILED: FindingKind.MIGRATION_FAILED,
    # The rest says nothing about the kernel under test.
    Kind.UNKNOWN: FindingKind.LAB,
    Kind.CONFIG: FindingKind.LAB,
    Kind.NOT_APPLIED: FindingKind.LAB,
    Kind.NOT_BUILT: FindingKind.LAB,
    Kind.LAB: FindingKind.LAB,
    Kind.PROCESS: FindingKind.LAB,
    Kind.CACHE: FindingKind.LAB,
    Kind.INTERNAL: FindingKind.LAB,
    Kind.GUEST: FindingKind.LAB,
    Kind.DISCONNECTED: FindingKind.LAB,
}
"""What an error means for the round in which it was raised; there is an entry for each kind."""


@dataclass
class Measuring:
    """Everything a round has found out so far; ``finish`` makes the record of it."""

    cell: Cell
    kernel: str
    number: int
    evidence_directory: Path
    repeats: int = 0
    l1: L1 | None = None
    event: str = ""
    judged: tuple[str, ...] = ()
    incidental: tuple[str, ...] = ()
    work_unit: Work = Work.VISITED
    phases: dict[str, Phase] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    work: dict[Work, int] = field(default_factory=dict)
    checked: bool = False
    findings: list[Finding] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    probed: Probed | None = None
    started: float = field(default_factory=time.monotonic)
    meter: LoadMeter | None = None
    load: Load | None = None

    @property
    def seed(self) -> int:
        """Of what the load does at random: a round that repeats another one does the same again."""
        return self.repeats or self.number

    def use(self, l1: L1) -> None:
        """Measure in this L1: the time of the round begins, as its boot is not of the cell."""
        self.l1, self.started = l1, time.monotonic()
        self.meter = LoadMeter(l1)

    @contextmanager
    def counting(self, l2: L2, phase: str) -> Iterator[None]:
        """Count while the body runs: KVM's counters, requests by path, events, and L1's swapping."""
        self.begin_counting()
        started, before = time.monotonic(), take_reading(l2)
        yield
        after, seconds = take_reading(l2), time.monotonic() - started
        self.end_counting()
        self.phases[phase] = self.count(before, after, seconds, f"{phase}.")
        for event, count in after.events_since(before).items():
            self.add_event(event, count)

    def begin_counting(self) -> None:
        """From here on what L0 takes from L1 matters, and probes disturb."""
        assert self.l1 and self.meter
        self.l1.begin_counting()
        self.meter.begin()

    def end_counting(self) -> None:
        """All that is counted was read."""
        assert self.l1 and self.meter
        self.meter.end()
        self.l1.end_counting()

    def count(self, before: Reading, after: Reading, seconds: float, prefix: str) -> Phase:
        """What happened between two readings; the round is invalid when counter and call paths disagree.

        ``prefix`` begins the name of the file with the call stacks.
        """
        assert self.l1
        phase, requests = after.since(before, seconds, self.l1.request)
        self.keep(f"{prefix}stacks.txt", counters.render_stacks(requests, self.l1.request))
        counted = phase.counters[counters.FLUSH_REQUESTS]
        if reason := counters.inconsistency(phase.paths, counted, dropped=requests.dropped):
            self.find(FindingKind.INCONSISTENT_COUNT, f"{prefix.rstrip('.') or 'migration'}: {reason}")
        return phase

    def take_load(self) -> None:
        """The round is over: what its L1 got and waited for is known."""
        if self.meter:
            self.load = self.meter.read()

    def add_event(self, event: str, count: int) -> None:
        """Count an event of the round; events of the same name are added up."""
        self.events[event] = self.events.get(event, 0) + count

    def add_work(self, kind: Work, count: int) -> None:
        """Count what the load in the guest, or the agent, has reported; work of the same kind is added up."""
        self.work[kind] = self.work.get(kind, 0) + count

    def require(self, event: str, least: int) -> None:
        """The round is invalid unless this event happened ``least`` times."""
        seen = self.events.get(event, 0)
        if seen < least:
            self.find(FindingKind.NOT_PROVEN, f"{event}: {seen} seen, at least {least} needed")

    def judge(self, correct: bool, wrong: FindingKind, text: str) -> None:
        """Something was checked: it is right, or a finding of kind ``wrong``."""
        self.checked = True
        if not correct:
            self.find(wrong, text)

    def find(self, kind: FindingKind, text: str) -> None:
        """Add a finding; its kind says what it means for the round."""
        self.findings.append(Finding(kind, text))

    def fault(self, error: GuestloopError) -> None:
        """The round ended by an error: its kind says what that means, all of it is kept as evidence."""
        # How the console of an L1 ended belongs to the verdict on its kernel.
        self.find(FINDINGS[error.kind], str(error) if error.kind is Kind.NOT_BOOTED else error.first_line)
        if error.kind is not Kind.LACKING:
            self.keep("error.txt", f"{error.render()}\n{error.traceback}\n")

    def keep(self, name: str, text: str) -> None:
        """Store a piece of evidence beside the results; what is there already is never replaced."""
        directory = self.evidence_directory / self.cell.id
        directory.mkdir(parents=True, exist_ok=True)
        paths = (directory / f"{self.kernel}.{self.number}.{file}" for file in _numbered(name))
        path = next(path for path in paths if not path.exists())
        path.write_text(text)
        self.evidence.append(str(path.relative_to(self.evidence_directory.parent)))

    def finish(self) -> Round:
        """The record of this round; counters and paths are summed over its phases."""
        if not self.checked and not self.findings:
            self.find(FindingKind.NOT_PROVEN, "the guest's memory was not checked")
        return Round(
            cell=self.cell,
            kernel=self.kernel,
            round=self.number,
            repeats=self.repeats,
            boot=self.l1.boot if self.l1 else 0,
            outcome=self._outcome(),
            reason="; ".join(finding.text.partition("\n")[0] for finding in self.findings),
            correctness=self._correctness(),
            event=self.event,
            events=self.events,
            counters=_sum(phase.counters for phase in self.phases.values()),
            phases=self.phases,
            paths=_sum(phase.paths for phase in self.phases.values()),
            requests=_sum(phase.requests for phase in self.phases.values()),
            load=self.load,
            judged=self.judged,
            incidental=self.incidental,
            seconds=time.monotonic() - self.started,
            facts=self.facts | (self.l1.facts if self.l1 else {}),
            evidence=tuple(self.evidence),
            findings=tuple(self.findings),
            work={str(kind): count for kind, count in self.work.items()},
            work_unit=str(self.work_unit),
            probed=self.probed,
            absent_paths=self.l1.absent_paths if self.l1 else (),
        )

    def _bearings(self) -> set[Bearing]:
        return {finding.kind.bearing for finding in self.findings}

    def _outcome(self) -> Outcome:
        """What is wrong is never skipped; a wrong round that was cut short before any event proves none."""
        bearings = self._bearings()
        wrong = Bearing.WRONG in bearings
        if Bearing.SKIPPED in bearings and not wrong:
            return Outcome.SKIPPED
        cut_short = wrong and not self.events.get(self.event)
        return Outcome.INVALID if Bearing.INVALID in bearings or cut_short else Outcome.MEASURED

    def _correctness(self) -> Correctness:
        if Bearing.WRONG in self._bearings():
            return Correctness.FAIL
        return Correctness.PASS if self.checked else Correctness.NOT_RUN


def _numbered(name: str) -> Iterator[str]:
    """``error.txt``, ``error.2.txt``, ``error.3.txt`` and so on."""
    yield name
    file = Path(name)
    for number in itertools.count(2):
        yield f"{file.stem}.{number}{file.suffix}"


def _sum(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0) + value
    return total
