"""A round in the making: what is counted while a workload runs, and what that proves.

The counting interval is bounded by two readings while the guest's load is at rest, so that the
counters and the call-path histogram are of the same events.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from guestloop import counters
from guestloop.counters import Histogram
from guestloop.ground.errors import GuestloopError
from guestloop.lab.client import L1, L2
from guestloop.results.cells import Cell
from guestloop.results.records import Correctness, Outcome, Phase, Round

# What the tracepoints of KVM are called in a result (arch/x86/include/asm/trace/kvm.h, trace/events/kvm.h).
EVENT_NAMES = {
    "kvm_async_pf_ready": "page_ready",
    "kvm_async_pf_not_present": "page_not_present",
    "kvm_async_pf_completed": "page_completed",
    "kvm_try_async_get_page": "async_get_page",
    "kvm_age_hva": "age_hva",
    "kvm_test_age_hva": "test_age_hva",
}
SWAPPED_IN = "pages_swapped_in"
SWAPPED_OUT = "pages_swapped_out"
VMSTAT_NAMES = {SWAPPED_IN: "pswpin", SWAPPED_OUT: "pswpout", "huge_pages_split": "thp_split_page"}
# How a guest whose memory was damaged ends: by a panic, or by a reset that nobody asked for (QEMU then
# exits with 0). One that was killed from outside ends by a signal.
CRASH = re.compile(r"the guest panicked \(.*\)|QEMU: exit status 0")


class Lacking(GuestloopError):
    """This machine or kernel lacks something that the cell needs: it is skipped, with the reason."""


@dataclass(frozen=True)
class Reading:
    """Everything that is counted in an L1, read while the load of its L2 is at rest.

    ``histograms`` and ``vmstat`` are of the whole L1, ``counters`` of one L2.
    """

    counters: Mapping[str, int]
    vmstat: Mapping[str, int]
    histograms: Mapping[str, str]

    @classmethod
    def take(cls, l2: L2) -> Reading:
        """Read all three; the histograms last, right after the counters they are checked against."""
        vmstat = l2.l1.call("memory.read_vmstat")
        return cls(counters=l2.call("counters"), vmstat=vmstat, histograms=l2.l1.call("trace.read"))

    def requests_since(self, before: Reading) -> Histogram:
        """Requests to all vCPUs by call stack since an earlier reading."""
        early, late = (counters.parse_histogram(item.histograms["request"]) for item in (before, self))
        return counters.subtract(late, early)

    def events_since(self, before: Reading) -> dict[str, int]:
        """Events of KVM and pages swapped since an earlier reading."""
        events = {
            event: counters.parse_histogram(self.histograms[tracepoint]).hits
            - counters.parse_histogram(before.histograms[tracepoint]).hits
            for tracepoint, event in EVENT_NAMES.items()
            if tracepoint in self.histograms
        }
        for event, stat in VMSTAT_NAMES.items():
            events[event] = self.vmstat.get(stat, 0) - before.vmstat.get(stat, 0)
        return events


@dataclass
class Measuring:
    """Everything a round has found out so far; ``finish`` makes the record of it."""

    cell: Cell
    kernel: str
    number: int
    evidence_directory: Path
    l1: L1 | None = None
    event: str = ""
    judged: tuple[str, ...] = ()
    incidental: tuple[str, ...] = ()
    phases: dict[str, Phase] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    correctness: Correctness = Correctness.NOT_RUN
    reasons: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    outcome: Outcome = Outcome.MEASURED
    started: float = field(default_factory=time.monotonic)

    def use(self, l1: L1) -> None:
        """Measure in this L1: the time of the round begins, as its boot is not of the cell."""
        self.l1, self.started = l1, time.monotonic()

    @contextmanager
    def counting(self, l2: L2, phase: str) -> Iterator[None]:
        """Count while the body runs: KVM's counters, flushes by path, events, and L1's swapping."""
        started, before = time.monotonic(), Reading.take(l2)
        yield
        after, seconds = Reading.take(l2), time.monotonic() - started
        requests = after.requests_since(before)
        self.keep(f"{phase}.stacks.txt", counters.render_stacks(requests))
        paths = counters.attribute(requests, l2.l1.request)
        moved = counters.diff(before.counters, after.counters)
        if reason := counters.inconsistency(paths, moved[counters.FLUSH_REQUESTS], dropped=requests.dropped):
            self.invalidate(f"{phase}: {reason}")
        self.phases[phase] = Phase(seconds, moved, paths)
        for event, count in after.events_since(before).items():
            self.events[event] = self.events.get(event, 0) + count

    def require(self, event: str, least: int) -> None:
        """The round is invalid unless this event happened ``least`` times."""
        seen = self.events.get(event, 0)
        if seen < least:
            self.invalidate(f"{event}: {seen} seen, at least {least} needed")

    def judge(self, correct: bool, reason: str = "") -> None:
        """Add one finding on the guest's memory: a single wrong one makes the round's correctness FAIL."""
        if not correct:
            self.correctness = Correctness.FAIL
            self.reasons.append(reason)
        elif self.correctness is Correctness.NOT_RUN:
            self.correctness = Correctness.PASS

    def invalidate(self, reason: str) -> None:
        """Mark the round as one that proves nothing."""
        self.outcome = Outcome.INVALID
        self.reasons.append(reason)

    def fault(self, error: GuestloopError) -> None:
        """Invalid because something broke: the first line is the reason, all of it is kept as evidence.

        A guest that crashed is a finding about its memory too.
        """
        reason = str(error).splitlines()[0]
        self.invalidate(reason)
        if CRASH.search(reason):
            self.judge(False, "a guest does not crash on a kernel that keeps its memory")
        self.keep("error.txt", f"{error.render()}\n{getattr(error, 'traceback', '')}\n")

    def skip(self, reason: str) -> None:
        """Mark the round as one that this machine or kernel cannot do."""
        self.outcome = Outcome.SKIPPED
        self.reasons.append(reason)

    def keep(self, name: str, text: str) -> None:
        """Store a piece of evidence beside the results."""
        path = self.evidence_directory / self.cell.id / f"{self.kernel}.{self.number}.{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.evidence.append(str(path.relative_to(self.evidence_directory.parent)))

    def finish(self) -> Round:
        """The record of this round; counters and paths are summed over its phases."""
        if self.outcome is Outcome.MEASURED and self.correctness is Correctness.NOT_RUN:
            self.invalidate("the guest's memory was not checked")
        return Round(
            cell=self.cell,
            kernel=self.kernel,
            round=self.number,
            boot=self.l1.boot if self.l1 else 0,
            outcome=self.outcome,
            reason="; ".join(self.reasons),
            correctness=self.correctness,
            event=self.event,
            events=self.events,
            counters=_sum(phase.counters for phase in self.phases.values()),
            phases=self.phases,
            paths=_sum(phase.paths for phase in self.phases.values()),
            judged=self.judged,
            incidental=self.incidental,
            seconds=time.monotonic() - self.started,
            facts=self.facts | (self.l1.facts if self.l1 else {}),
            evidence=tuple(self.evidence),
        )


def _sum(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0) + value
    return total
