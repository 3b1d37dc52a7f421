# SPDX-License-Identifier: GPL-2.0-or-later
"""One migration from a source to a destination: conducted from here, watched by the agent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from guestloop.ground.units import MIB
from guestloop.results.findings import FindingKind
from guestloop.results.records import Work
from guestloop.workloads.measuring import Measuring
from guestloop.workloads.migration import oracles, turns
from guestloop.workloads.migration.explained import Area
from guestloop.workloads.migration.ledger import Entry, done_between, idle_vcpus, lost_visits, parse_ledger
from guestloop.workloads.reading import ROOT_LOADS

if TYPE_CHECKING:
    from guestloop.lab.client import L2

# A downtime limit so low that precopy cannot converge while the load runs. (With a limit of 0 QEMU would not
# look for dirty pages again: migration/ram.c, ram_save_pending.)
HELD_DOWNTIME_MS = 1
RELEASED_DOWNTIME_MS = 60_000
# Until the agent sets it for each round: hardly below what is reached, so that no round is over before that.
HELD_BYTES_PER_S = 16 * MIB
UNLIMITED_BYTES_PER_S = 4096 * MIB
LEAST_BYTES_PER_S = 1 * MIB
# With a ring little is known to be dirty when a round begins.
LEAST_BYTES_PER_S_WITH_RING = 8 * MIB
# Slow enough that the destination asks for pages before they come by themselves.
POSTCOPY_BYTES_PER_S = 1 * MIB
# A migration may take as long as it makes progress; without any for so long it is stuck.
STALLED_S = 60.0
REPORTS_BEFORE = 3
REPORTS_AFTER = 2
MULTIFD_CHANNELS = 3
NEEDED_ROUNDS = 3

# What a flush is asked for: the log of a memory slot was read or cleared, a vCPU's ring was emptied.
LOG_EVENT = "dirty_log_syncs"
RING_EVENT = "dirty_ring_resets"
# Rounds that are not held go by as fast as they can, 8 or 90 of them, and the log that most of them read
# has nothing new. So there the pages that were protected again are counted.
PAGE_EVENT = "dirty_pages"
EVENT_NAMES = {
    "log_sync": LOG_EVENT,
    "kvm_dirty_ring_push": "dirty_ring_pages",
    "kvm_dirty_ring_exit": "dirty_ring_exits",
    "kvm_dirty_ring_reset": RING_EVENT,
    "root_load": ROOT_LOADS,
}
JUDGED = ("dirty_log", "dirty_logging_off")


class Hop:
    """The pieces that the ways to migrate are made of. ``prefix`` begins the names of its phases."""

    def __init__(
        self,
        this: Measuring,
        source: L2,
        layout: oracles.Layout,
        areas: Sequence[Area],
        prefix: str = "",
    ) -> None:
        self._this, self.source, self._layout, self._areas = this, source, layout, areas
        self.l1, self._prefix = source.l1, prefix
        self._scale = source.l1.sizes.scale  # what is sent is so much more, in the same time
        self._agent = source.l1.agent.migration
        self._destination: L2 | None = None
        self._stopped_at: Entry | None = None
        self._rounds: dict[str, float] = {}
        self._round_s = 0.0

    @property
    def destination(self) -> L2:
        assert self._destination
        return self._destination

    def prepare(self, destination: L2, *capabilities: str) -> None:
        """Name the destination, hold the migration, and see the load at work."""
        self._destination = destination
        parameters: dict[str, Any] = {
            "downtime_limit": HELD_DOWNTIME_MS,
            "max_bandwidth": HELD_BYTES_PER_S * self._scale,
            "max_postcopy_bandwidth": POSTCOPY_BYTES_PER_S * self._scale,
        }
        if "multifd" in capabilities:
            parameters["multifd_channels"] = MULTIFD_CHANNELS
        self._agent.prepare(
            self.source.spec.name, destination.spec.name, ["events", *capabilities], parameters
        )
        self.reports(self.source, 1)
        self._this.begin_counting()
        self._agent.pause(self.source.spec.name, "before")
        self.reports(self.source, REPORTS_BEFORE)

    def pin(self) -> None:
        """Give the source's first vCPU a CPU of L1 for itself."""
        self._agent.pin(self.source.spec.name)

    def dirty_rounds(self, round_s: float, rounds: int, *, may_end: bool) -> None:
        """Begin, and let the load keep the migration going for so many rounds.

        ``may_end``: the load cannot be held; what was seen of it is proof enough or makes the round invalid.
        """
        self._round_s = round_s
        least = LEAST_BYTES_PER_S_WITH_RING if self.source.spec.dirty_ring else LEAST_BYTES_PER_S
        self._agent.begin(round_s, least * self._scale)
        self.wait(["pre-switchover"] if may_end else [], rounds=rounds)
        self._this.events["connections"] = self._agent.connections()

    def release(self) -> None:
        """Let it end: the next time it looks, all that is dirty may be sent with the guest stopped."""
        self._agent.release(RELEASED_DOWNTIME_MS, UNLIMITED_BYTES_PER_S)

    def switch_over(self) -> None:
        """The source is stopped, the rest is sent, and both RAM files are compared before anything runs."""
        self.wait(["pre-switchover"])
        self._note_source()
        self.source.qmp("migrate-continue", state="pre-switchover")
        self.wait(["completed"])
        self._measure("end")
        known = oracles.Known(self._layout, self._ledger(), self._rounds)
        oracles.compare_ram(self._this, self.destination, self._areas, known, self._prefix)
        self.destination.qmp("cont")

    def enter_postcopy(self) -> None:
        """Have the destination run and fetch what it touches; ends when all is there."""
        self.source.qmp("migrate-start-postcopy")
        status = self.wait(["completed"])
        self._note_source()
        self._agent.pause(self.destination.spec.name, "end")
        self._measure()
        ram = status["ram"]
        entered = any(name.endswith("postcopy") for name in self._this.phases)
        self._this.add_event("postcopy_entered", int(entered))
        self._this.add_event("page_requests", ram.get("postcopy-requests", 0))

    def cancel(self) -> None:
        """Give up while the guest runs; it must go on as if nothing had been."""
        self._agent.mark("logging-off")
        self.source.qmp("migrate_cancel")
        status = self.wait(["cancelled"])
        self.reports(self.source, REPORTS_AFTER)
        self._agent.pause(self.source.spec.name, "end")
        self._this.add_event("cancelled", int(status["status"] == "cancelled"))
        self._measure()
        self._prefix += "retry."

    def conclude(self) -> None:
        """The guest runs on at the destination, where nothing that it had reported may be undone."""
        self.reports(self.destination, REPORTS_AFTER)
        late = self._ledger(self.destination)
        early = self._stopped_at
        if early is None:
            self._this.find(FindingKind.NOT_PROVEN, "the source reported no progress")
            return
        lost = lost_visits(early, late[0])
        what = f"the destination forgot what was done: {'; '.join(lost)}"
        self._this.judge(not lost, FindingKind.CONTENTS, what)
        if idle := idle_vcpus(early, late[-1]):
            self._this.find(FindingKind.NOT_PROVEN, f"vCPUs {idle} did nothing on the destination")

    def wait(self, states: Sequence[str], rounds: int = 0) -> dict[str, Any]:
        """See agent/migration.py, Migration.wait."""
        return self._agent.wait(list(states), rounds, STALLED_S)

    def reports(self, guest: L2, count: int) -> None:
        """Wait for the payload to report progress so many times from now on."""
        guest.command("hello", until="hello")  # what was reported before is behind us
        for _ in range(count):
            guest.listen_for("progress")

    def _ledger(self, guest: L2 | None = None) -> list[Entry]:
        return parse_ledger(self._agent.progress((guest or self.source).spec.name))

    def _note_source(self) -> None:
        ledger = self._ledger()
        self._stopped_at = ledger[-1] if ledger else None

    def _measure(self, label: str = "") -> None:
        """Turn the marks so far into phases and events."""
        if label:
            self._agent.mark(label)
        self._this.end_counting()
        marks = [turns.turn_of(mark) for mark in self._agent.take_marks()]
        first, last = marks[0], marks[-1]
        self._this.keep(f"{self._prefix}turns.json", json.dumps(turns.table(marks), indent=1))
        self._this.count(first.reading, last.reading, last.at_s - first.at_s, self._prefix)
        for name, phase in turns.phases_of(marks, self.l1.request).items():
            self._this.phases[self._prefix + name] = phase
        self._count(marks)
        done = done_between(self._ledger() + self._ledger(self.destination), first.at_s, last.at_s)
        self._this.add_work(Work.VISITED, done.visits)
        self._this.add_work(Work.DIRTIED, done.writes)

    def _count(self, marks: Sequence[turns.Mark]) -> None:
        self._rounds = turns.rounds_of(marks)
        self._this.add_event(PAGE_EVENT, turns.sent_again(marks))
        self._this.add_event("dirty_rounds", max(mark.rounds for mark in marks))
        self._this.add_event("multifd_bytes", marks[-2].multifd_bytes)
        if self._round_s:  # else rounds go by faster than marks can be taken
            least = min(turns.redirtied(marks)[:NEEDED_ROUNDS], default=0)
            self._this.events["redirtied_least"] = min(self._this.events.get("redirtied_least", least), least)
        first, last = marks[0].reading, marks[-1].reading
        for tracepoint, event in EVENT_NAMES.items():
            if tracepoint in last.histograms:  # what a kernel does not count is not 0
                self._this.add_event(event, last.hits_since(first, tracepoint))
