# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's migration: what the watcher marks, how it paces, and how a wait ends, with scripted QEMUs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from guestloop.agent import migration
from guestloop.agent.guest import Guest
from guestloop.agent.guests import Roster
from guestloop.agent.migration import Migration, phase_of
from guestloop.agent.trace import Trace
from guestloop.ground.errors import Disconnected, GuestError, GuestKilled

SOON_S = 10.0  # reached only when a test fails
MIB = 1 << 20


def told(status: str, rounds: int = 0, left: int = 0, error: str = "") -> dict[str, Any]:
    """An answer of query-migrate with ``left`` pages known to be dirty."""
    ram = {"dirty-sync-count": rounds, "remaining": left << 12}
    return {"status": status, "ram": ram} | ({"error-desc": error} if error else {})


class FakeQmp:
    """A QEMU's QMP. Each answer to query-migrate that was put in is given once, the last for ever."""

    def __init__(self, name: str, flushes: int) -> None:
        self.name, self._flushes = name, flushes
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.lost, self.threads = False, list[int]()
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._answer: dict[str, Any] = {}

    def tell(self, *answers: dict[str, Any]) -> None:
        for answer in answers:
            self._answers.put(answer)

    def execute(self, command: str, timeout_s: float = 30.0, **arguments: Any) -> Any:
        self.calls.append((command, arguments))
        if self.lost:
            raise Disconnected(f"{self.name}: QMP {command}: connection lost (EOF)\nmore")
        if command == "query-migrate":
            if not self._answers.empty():
                self._answer = self._answers.get()
            return self._answer
        answers: dict[str, Any] = {
            "query-stats-schemas": [
                {"target": target, "stats": [{"name": name, "type": "cumulative"}]}
                for target, name in (("vm", "remote_tlb_flush_requests"), ("vcpu", "exits"))
            ],
            "query-status": {"status": "running"},
            "human-monitor-command": "RAX=0\r\nRBX=1",
        }
        if command == "query-stats":
            name = {"vm": "remote_tlb_flush_requests", "vcpu": "exits"}[arguments["target"]]
            return [{"stats": [{"name": name, "value": self._flushes}]}]
        return answers.get(command, {})

    def arguments_of(self, command: str) -> list[dict[str, Any]]:
        return [arguments for name, arguments in self.calls if name == command]


@dataclass
class FakeGuest:
    """An L2 as far as a migration has to do with it. ``status`` is QEMU's, once it has ended.

    ``runs_on``: it ends when it is given time to.
    """

    qmp: FakeQmp
    ram: Path | None = None
    status: int | None = None
    runs_on: bool = False
    panic: str = ""
    pid: int = 0
    progress: list[tuple[float, str]] = field(default_factory=list)
    struck: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.qmp.name

    @property
    def process(self) -> Any:
        seen = None if self.runs_on else self.status
        return SimpleNamespace(pid=self.pid, kill=lambda: self.struck.append("killed"), poll=lambda: seen)

    def execute(self, command: str, timeout_s: float = 30.0, **arguments: Any) -> Any:
        return self.qmp.execute(command, timeout_s, **arguments)

    def vcpu_threads(self) -> list[int]:
        return list(self.qmp.threads)

    def send(self, line: str) -> None:
        self.struck.append(line)

    def ended(self) -> str:
        return "" if self.runs_on or self.status is None else f"ended with {self.status}"

    def give_time_to_end(self) -> None:
        self.runs_on = False

    def panicked(self) -> str:
        return self.panic

    def tail(self) -> str:
        return f"  console.log | last words of {self.name}"


def roster_of(*guests: FakeGuest) -> Roster:
    """The guests of this L1."""
    roster = Roster()
    roster.running = {guest.name: cast(Guest, guest) for guest in guests}
    return roster


class Tracing:
    """Histograms; two readers at once are noticed."""

    def __init__(self) -> None:
        self.readings, self._inside = 0, 0
        self.crowded, self.hold_s = threading.Event(), 0.0
        self.fault: Exception | None = None

    def read(self) -> dict[str, str]:
        if self.fault:
            raise self.fault
        self._inside += 1
        if self._inside > 1:
            self.crowded.set()
        self.crowded.wait(self.hold_s)
        self._inside -= 1
        self.readings += 1
        return {"request": f"reading {self.readings}"}


class World:
    """A migration that is prepared, and both ends of it."""

    def __init__(self) -> None:
        self.trace = Tracing()
        self.source, self.destination = FakeGuest(FakeQmp("a", 7)), FakeGuest(FakeQmp("b", 2))
        roster = roster_of(self.source, self.destination)
        self.migration = Migration(roster, cast(Trace, self.trace))
        self.migration.prepare("a", "b", ["events"], {"downtime_limit": 1})

    def begin(self, *answers: dict[str, Any], round_s: float = 0.0) -> None:
        self.source.qmp.tell(*answers)
        self.migration.begin(round_s, least_bytes_per_s=8 * MIB)

    def wait(self, *states: str, rounds: int = 0, timeout_s: float = SOON_S) -> dict[str, Any]:
        return self.migration.wait(states, rounds, timeout_s)

    def labels(self) -> list[str]:
        return [mark.label for mark in self.migration.take_marks()]

    def bandwidths(self) -> list[int]:
        """Those that the source was given since it was prepared, in MiB/s."""
        given = self.source.qmp.arguments_of("migrate-set-parameters")[1:]
        return [parameters["max_bandwidth"] // MIB for parameters in given]

    def finish(self) -> None:
        """Have the watcher end, and see that it does."""
        self.source.qmp.tell(told("cancelled"))
        if watcher := self.migration._watcher:
            watcher.join(SOON_S)
            assert not watcher.is_alive()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(migration, "POLL_S", 0.001)
    world = World()
    yield world
    world.finish()


# --- marks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "rounds", "phase"),
    [
        ("setup", 0, "logging-on"),
        ("active", 0, "logging-on"),
        ("active", 1, "round-1"),
        ("active", 12, "round-12"),
        ("pre-switchover", 12, "stop"),
        ("device", 13, "stop"),
        ("completed", 13, "stop"),
        ("postcopy-active", 3, "postcopy"),
        ("cancelling", 3, "logging-off"),
        ("cancelled", 3, "logging-off"),
        ("postcopy-paused", 3, "postcopy-paused"),
    ],
)
def test_what_a_phase_is_called(status: str, rounds: int, phase: str) -> None:
    assert phase_of(status, rounds) == phase


def test_a_mark_at_every_turn(world: World) -> None:
    turns = [told("active"), told("active", 1, 90), told("active", 2, 50), told("pre-switchover", 2, 9)]
    world.begin(told("setup"), *(turn for turn in turns for _ in range(2)), told("completed", 3))
    assert world.wait("completed") == told("completed", 3)
    assert world.labels() == ["logging-on", "logging-on", "round-1", "round-2", "stop", "stop"]
    marks = world.migration.take_marks()
    assert [mark.migration for mark in marks] == [{}, *turns, told("completed", 3)]
    assert all(mark.source == {"remote_tlb_flush_requests": 7, "exits": 7} for mark in marks)
    assert all(mark.destination == {"remote_tlb_flush_requests": 2, "exits": 2} for mark in marks)
    assert [mark.histograms["request"] for mark in marks] == [f"reading {n}" for n in range(1, 7)]
    assert [mark.at_s for mark in marks] == sorted(mark.at_s for mark in marks)
    assert marks[0].vmstat["pswpin"] >= 0


def test_whoever_waits_for_a_turn_finds_its_mark(world: World) -> None:
    world.begin(told("active", 1))
    for rounds in range(2, 20):
        world.source.qmp.tell(told("active", rounds))
        assert world.wait(rounds=rounds) == told("active", rounds)
        assert world.labels()[-1] == f"round-{rounds}"


def test_one_mark_is_taken_at_a_time(world: World) -> None:
    world.trace.hold_s = 0.1
    threads = [threading.Thread(target=world.migration.mark, args=(name,)) for name in "xy"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON_S)
    assert sorted(world.labels()) == ["x", "y"]
    assert not world.trace.crowded.is_set()


def test_a_mark_at_rest(world: World) -> None:
    qmp = world.source.qmp
    qmp.calls.clear()
    world.migration.pause("a", "before")
    names = [name for name, _ in qmp.calls]
    assert (names[0], names[-1]) == ("stop", "cont") and names.count("query-stats") == 2
    assert world.labels() == ["before"]
    assert "stop" not in [name for name, _ in world.destination.qmp.calls]


def test_a_destination_that_is_gone_keeps_its_last_counters(world: World) -> None:
    world.migration.mark("before")
    world.destination.qmp.lost = True
    world.migration.mark("end")
    first, last = world.migration.take_marks()
    assert last.destination == first.destination
    world.source.qmp.lost = True
    with pytest.raises(Disconnected, match="a: QMP query-stats"):
        world.migration.mark("later")


def test_a_destination_that_was_never_read_cannot_be_made_up(world: World) -> None:
    world.destination.qmp.lost = True
    with pytest.raises(Disconnected, match="b: QMP query-stats"):
        world.migration.mark("before")


# --- preparing -------------------------------------------------------------------------------------


def test_a_guest_that_is_not_there_cannot_be_migrated() -> None:
    with pytest.raises(GuestError, match="no L2 is called 'a'"):
        Migration(Roster(), cast(Trace, Tracing())).prepare("a", "b", [], {})


def test_both_ends_are_prepared_and_the_destination_listens(world: World) -> None:
    capabilities = {"capabilities": [{"capability": "events", "state": True}]}
    for guest in (world.source, world.destination):
        assert guest.qmp.arguments_of("migrate-set-capabilities") == [capabilities]
        assert guest.qmp.arguments_of("migrate-set-parameters") == [{"downtime_limit": 1}]
    uri = {"uri": f"unix:{migration.SOCKET}"}
    assert world.destination.qmp.arguments_of("migrate-incoming") == [uri]
    world.begin(told("completed"))
    assert world.source.qmp.arguments_of("migrate") == [uri]
    assert not world.source.qmp.arguments_of("migrate-incoming")
    assert not world.destination.qmp.arguments_of("migrate")


def test_a_retry_begins_with_nothing(world: World) -> None:
    world.begin(told("active", 5), told("cancelled", 5))
    world.wait("cancelled")
    world.migration.prepare("a", "b", [], {})
    assert world.labels() == []
    world.begin(told("setup"), told("active", 1))
    assert world.wait(rounds=1) == told("active", 1), "what was seen of the first is forgotten"
    assert world.labels() == ["logging-on", "round-1"]
    assert len(world.source.qmp.arguments_of("query-stats-schemas")) == 1


def test_a_retry_after_a_lost_source_begins_with_nothing(world: World) -> None:
    world.begin(told("active", 1))
    world.source.qmp.lost, world.source.status = True, -9
    with pytest.raises(GuestKilled):
        world.wait("completed")
    world.source.qmp.lost, world.source.status = False, None
    world.migration.prepare("a", "b", [], {})
    world.begin(told("completed"))
    assert world.wait("completed") == told("completed")


def test_nothing_without_preparing() -> None:
    idle = Migration(Roster(), cast(Trace, Tracing()))
    for act in (idle.begin, idle.compare, idle.connections, idle.evidence):
        with pytest.raises(GuestError, match="no migration was prepared"):
            act()


# --- pacing ----------------------------------------------------------------------------------------


def test_each_round_from_the_second_on_takes_its_time(world: World) -> None:
    pages = MIB >> 12
    world.begin(told("active"), told("active", 1, 96 * pages), round_s=0.5)
    world.wait(rounds=1)
    assert world.bandwidths() == [], "the first is as fast as it goes"
    world.source.qmp.tell(told("active", 2, 32 * pages), told("active", 2, 20 * pages), told("active", 3, 1))
    world.wait(rounds=3)
    assert world.bandwidths() == [64, 8]
    world.source.qmp.tell(told("pre-switchover", 4, 50 * pages))
    world.wait("pre-switchover")
    assert len(world.bandwidths()) == 2


def test_after_the_release_nothing_holds_it(world: World) -> None:
    world.begin(told("active", 2, 1024), round_s=0.5)
    world.wait(rounds=2)
    world.migration.release(60_000, 4096 * MIB)
    world.source.qmp.tell(told("active", 3, 1024))
    world.wait(rounds=3)
    limits = world.source.qmp.arguments_of("migrate-set-parameters")
    assert limits[-1] == {"downtime_limit": 60_000, "max_bandwidth": 4096 * MIB}
    assert len(world.bandwidths()) == 2


def test_a_migration_that_is_not_paced_keeps_its_bandwidth(world: World) -> None:
    world.begin(told("active", 2, 1024), told("active", 3, 1024))
    world.wait(rounds=3)
    assert world.bandwidths() == []
