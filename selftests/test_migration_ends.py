# SPDX-License-Identifier: GPL-2.0-or-later
"""How a migration ends: awaited, failed, broken on purpose; and what is told of it, with scripted QEMUs."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import test_migration_agent
from test_migration_agent import World, told

from guestloop.agent import faults, migration
from guestloop.agent.faults import Fault
from guestloop.agent.guest import Guest
from guestloop.ground.errors import (
    Disconnected,
    GuestCrashed,
    GuestError,
    GuestKilled,
    InternalError,
    LabError,
    MigrationFailed,
    TimedOut,
)

world = test_migration_agent.world

# --- waiting ---------------------------------------------------------------------------------------


def first_line(raised: pytest.ExceptionInfo[LabError]) -> str:
    return str(raised.value).splitlines()[0]


@pytest.mark.parametrize(
    ("states", "rounds", "answer", "reason"),
    [
        (["completed"], 0, told("failed", error="no route"), "the migration is failed: no route"),
        (["completed"], 0, told("failed"), "the migration is failed: no reason"),
        (["pre-switchover"], 0, told("completed", 2), "the migration is completed: no reason"),
        (["completed"], 0, told("cancelled"), "the migration is cancelled: no reason"),
        (["completed"], 0, told("postcopy-paused", 3), "the migration is postcopy-paused: no reason"),
        # the load was outrun: the rounds that were wanted will never be
        ([], 3, told("pre-switchover", 2), "the migration is pre-switchover: no reason"),
        ([], 3, told("device", 3), "the migration is device: no reason"),
    ],
)
def test_a_migration_that_ends_otherwise(
    world: World, states: list[str], rounds: int, answer: dict[str, Any], reason: str
) -> None:
    world.begin(told("active", 1), answer)
    with pytest.raises(MigrationFailed) as raised:
        world.wait(*states, rounds=rounds)
    assert first_line(raised) == reason
    _, status, *tails = str(raised.value).splitlines()
    assert (
        status == f"status {answer['status']}, dirty round {answer['ram']['dirty-sync-count']}, 0 pages left"
    )
    assert tails == [
        "source a:",
        "  console.log | last words of a",
        "destination b:",
        "  console.log | last words of b",
    ]


def test_a_load_that_cannot_be_held_may_end_before_its_rounds(world: World) -> None:
    world.begin(told("active", 1), told("pre-switchover", 2))
    assert world.wait("pre-switchover", rounds=9)["status"] == "pre-switchover"


def test_a_wait_has_an_end_and_says_what_was_last_seen(world: World) -> None:
    world.begin(told("active", 1, 5))
    world.wait(rounds=1)
    with pytest.raises(TimedOut) as raised:
        world.wait("completed", "cancelled", rounds=3, timeout_s=0.1)
    assert first_line(raised) == (
        "waited 0.1 s for the migration to be completed or cancelled or in round 3 "
        "without any progress; last seen: status active, dirty round 1, 5 pages left"
    )
    assert "last words of b" in str(raised.value)


def test_a_source_that_dies_is_reported_with_its_end(world: World) -> None:
    """Its QMP is lost a moment before its process ends."""
    world.begin(told("active", 1))
    world.wait(rounds=1)
    world.source.runs_on, world.source.status, world.source.qmp.lost = True, -9, True
    with pytest.raises(GuestKilled) as raised:
        world.wait("completed")
    assert first_line(raised).endswith("a: QMP query-migrate: connection lost (EOF); source: ended with -9")


def test_a_source_that_is_silent_but_does_not_end(world: World) -> None:
    world.begin(told("active", 1))
    world.source.qmp.lost = True
    with pytest.raises(Disconnected) as raised:
        world.wait("completed")
    assert first_line(raised).endswith("connection lost (EOF)")


@pytest.mark.parametrize(
    ("fault", "kind"), [(OSError("tracefs is gone"), GuestError), (KeyError("a bug"), InternalError)]
)
def test_whoever_waits_learns_of_what_the_watcher_died_of(
    world: World, fault: Exception, kind: type[LabError]
) -> None:
    world.trace.fault = fault
    world.source.qmp.tell(told("active", 1))
    world.migration._watch(cast(Guest, world.source))
    world.trace.fault = None
    with pytest.raises(kind) as raised:
        world.wait("completed")
    assert type(raised.value) is kind and str(fault) in str(raised.value)


@pytest.mark.parametrize(
    ("panic", "source", "destination", "kind"),
    [
        ("Kernel panic - not syncing: sysrq", None, -7, GuestCrashed),
        ("", 0, 1, GuestCrashed),
        ("", -9, 1, GuestKilled),
        ("", 1, -9, GuestKilled),
        ("", 1, None, MigrationFailed),
        ("", None, 1, MigrationFailed),  # it gave up because the migration failed
        ("", None, None, MigrationFailed),
    ],
)
def test_the_worst_end_of_both_is_what_happened(
    world: World, panic: str, source: int | None, destination: int | None, kind: type[GuestError]
) -> None:
    """A guest that crashed is a finding, one that was killed explains the rest."""
    world.begin(told("failed", error="EOF"))
    world.source.panic, world.source.status, world.destination.status = panic, source, destination
    with pytest.raises(GuestError) as raised:
        world.wait("completed")
    assert type(raised.value) is kind
    line = first_line(raised)
    assert line.startswith("the migration is failed: EOF")
    assert (f"the guest panicked ({panic})" in line) is bool(panic)
    for role, status in (("source", source), ("destination", destination)):
        assert (f"{role}: ended with {status}" in line) is (status is not None)


# --- breaking --------------------------------------------------------------------------------------


def test_a_fault_strikes_once_when_its_phase_begins(world: World) -> None:
    world.migration.break_at("round-2", Fault.KILL_DESTINATION)
    world.begin(told("active", 1))
    world.wait(rounds=1)
    assert world.destination.struck == []
    world.source.qmp.tell(told("active", 2))
    world.wait(rounds=2)
    assert (world.source.struck, world.destination.struck) == ([], ["killed"])
    assert world.labels()[-1] == "round-2", "the mark of the phase was taken before"
    world.source.qmp.tell(told("failed", 2))
    with pytest.raises(GuestError):
        world.wait("completed")
    world.migration.prepare("a", "b", [], {})
    world.begin(told("active", 2), told("completed", 2))
    world.wait("completed")
    assert world.destination.struck == ["killed"], "the next migration is left alone"


def test_a_phase_that_never_comes_is_never_broken(world: World) -> None:
    world.migration.break_at("postcopy", Fault.PANIC)
    world.begin(told("active", 1), told("completed", 2))
    world.wait("completed")
    assert world.source.struck == []


def test_the_cut_link_is_the_destinations(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    cut: list[tuple[int, Path]] = []
    monkeypatch.setattr(faults, "cut_connections", lambda pid, path: cut.append((pid, path)))
    world.source.pid, world.destination.pid = 11, 22
    world.migration.break_at("postcopy", Fault.CUT_LINK)
    world.begin(told("postcopy-active", 1), told("completed", 1))
    world.wait("completed")
    assert cut == [(22, migration.SOCKET)]


# --- telling ---------------------------------------------------------------------------------------


def test_evidence_of_both_ends_whatever_they_still_say(world: World) -> None:
    world.source.qmp.tell(told("active", 1, 5))
    world.destination.qmp.lost, world.destination.status = True, 1
    found = world.migration.evidence()
    here, there = found["a"], found["b"]
    assert (here["ended"], here["tail"]) == ("", ["  console.log | last words of a"])
    assert (here["query-status"], here["query-migrate"]) == ({"status": "running"}, told("active", 1, 5))
    assert here["info registers -a"] == ["RAX=0", "RBX=1"]
    assert there["ended"] == "ended with 1"
    assert there["query-migrate"] == "b: QMP query-migrate: connection lost (EOF)"
    assert there["info registers -a"] == ["b: QMP human-monitor-command: connection lost (EOF)"]


def test_progress_is_that_of_the_guest(world: World) -> None:
    world.destination.progress.append((1.5, "progress v0=1"))
    assert world.migration.progress("b") == [(1.5, "progress v0=1")]
    assert world.migration.progress("a") == []


def test_ram_is_compared_when_both_have_it_in_files(world: World, tmp_path: Path) -> None:
    world.source.ram = tmp_path / "a.ram"
    with pytest.raises(GuestError, match="the RAM of source or destination is not in a file"):
        world.migration.compare()
    world.destination.ram = tmp_path / "b.ram"
    world.source.ram.write_bytes(bytes(8192))
    world.destination.ram.write_bytes(bytes(4096) + b"\1" * 4096)
    found = world.migration.compare()
    assert (found.compared, found.differing, len(found.contents)) == (2, [1], 1)


def test_connections_are_counted_at_the_destination(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.source.pid, world.destination.pid = 11, 22
    seen = {(22, migration.SOCKET): [5, 6, 9]}
    monkeypatch.setattr(faults, "connections", lambda pid, path: seen[pid, path])
    assert world.migration.connections() == 3


def test_a_destination_that_has_gone_has_no_connections(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(pid: int, path: Path) -> list[int]:
        raise FileNotFoundError(f"/proc/{pid}/fd")

    monkeypatch.setattr(faults, "connections", gone)
    world.destination.status = -9
    with pytest.raises(GuestKilled, match="destination: ended with -9"):
        world.migration.connections()


def test_a_small_tmpfs_is_mounted_where_it_is_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted: list[tuple[Path, int]] = []
    monkeypatch.setattr(faults, "mount_tmpfs", lambda path, mib: mounted.append((path, mib)))
    world.migration.small_tmpfs("/run/small", 8)
    assert mounted == [(Path("/run/small"), 8)]


def test_the_pinned_vcpu_has_a_cpu_for_itself(world: World) -> None:
    """Three real processes stand in for the QEMUs and for the vCPU's thread."""
    with ExitStack() as stack:
        sleepers = [stack.enter_context(subprocess.Popen(["sleep", "60"])) for _ in range(3)]
        for sleeper in sleepers:
            stack.callback(sleeper.kill)
        world.source.pid, world.destination.pid, vcpu = (sleeper.pid for sleeper in sleepers)
        world.source.qmp.threads = [vcpu, 1]
        world.migration.pin("a")
        cpus = sorted(os.sched_getaffinity(0))
        rest = set(cpus[:-1]) or set(cpus)
        assert [os.sched_getaffinity(sleeper.pid) for sleeper in sleepers] == [rest, rest, {cpus[-1]}]


def test_huge_pages_are_those_that_the_kernel_gave(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        migration, "HUGE_POOL", SimpleNamespace(write_text=asked.append, read_text=lambda: "90\n")
    )
    assert world.migration.huge_pages(96) == 90
    assert asked == ["96"]
