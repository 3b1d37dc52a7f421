# SPDX-License-Identifier: GPL-2.0-or-later
"""The service of L2 guests by name, with a stand-in for QEMU."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stand_in import NoCgroup, StandIn
from test_proc import wait_until_gone

from guestloop.agent import guests as module
from guestloop.agent import liveness
from guestloop.agent.cgroup import Cgroup
from guestloop.agent.guest import Guest
from guestloop.agent.guests import MOST_ATTEMPTS, Guests, Roster, Started
from guestloop.agent.liveness import Vitals
from guestloop.agent.memory import PageOut
from guestloop.ground.errors import (
    GuestCrashed,
    GuestError,
    GuestFailed,
    GuestKilled,
    GuestloopError,
    LabError,
    TimedOut,
)
from guestloop.ground.units import MIB
from guestloop.ground.wait import clock, wait_for


class Fleet:
    """The guests of an L1 whose QEMU is the stand-in."""

    def __init__(self, qemu: StandIn) -> None:
        self.roster = Roster()
        self.guests = Guests(self.roster, qemu.directory)
        self._qemu = qemu

    def start(self, mode: str = "well", name: str = "a", **more: Any) -> Started:
        return self.guests.start(name, self._qemu.argv(name, mode), **more)

    def launch(self, mode: str = "well") -> None:
        self.guests.launch("a", self._qemu.argv("a", mode))


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    fleet = Fleet(StandIn(tmp_path, monkeypatch))
    yield fleet
    fleet.guests.stop_all()


# --- start and stop --------------------------------------------------------------------------------


def test_start_returns_the_first_words_and_stop_ends_everything(fleet: Fleet) -> None:
    started = fleet.start()
    assert started.hello == "hello cpus=2 kvmapf=1" and 0 < started.seconds < 10
    (cgroup,) = NoCgroup.made
    assert (cgroup.name, cgroup.pids, cgroup.removed) == ("a", [started.pid], False)
    assert "qemu.log | stand-in: well" in fleet.guests.stop("a")
    wait_until_gone(started.pid)
    assert cgroup.removed
    with pytest.raises(GuestError, match=r"^no L2 is called 'a'; running: \[\]$"):
        fleet.guests.stop("a")


def end_by(fleet: Fleet, command: str) -> None:
    guest = fleet.roster["a"]
    guest.send(command)
    wait_for("its end", lambda: guest.panicked() or guest.process.poll() is not None or None, 5)


@pytest.mark.parametrize(
    ("command", "kind", "said"),
    [
        ("panic", GuestCrashed, "the guest panicked (Kernel panic - not syncing: Oops)"),
        ("reset", GuestCrashed, "it had ended before it was stopped; QEMU: exit status 0"),
        ("fail", GuestFailed, "QEMU: exit status 5"),
    ],
)
def test_a_guest_that_had_ended_unasked_is_reported_when_it_is_stopped(
    fleet: Fleet, command: str, kind: type[GuestError], said: str
) -> None:
    """Also when it crashed after everything was checked."""
    fleet.start()
    end_by(fleet, command)
    with pytest.raises(kind) as raised:
        fleet.guests.stop("a")
    assert said in raised.value.first_line
    assert fleet.roster.running == {} and NoCgroup.made[0].removed


def test_a_destination_whose_migration_was_cancelled_may_fail_and_may_not_crash(fleet: Fleet) -> None:
    fleet.start(incoming=True)
    end_by(fleet, "fail")
    assert "it broke" in fleet.guests.stop("a")
    fleet.start(incoming=True)
    end_by(fleet, "reset")
    with pytest.raises(GuestCrashed):
        fleet.guests.stop("a")


def test_one_that_awaits_a_migration_has_nothing_to_say_yet(fleet: Fleet) -> None:
    assert fleet.start("silent", incoming=True).hello == ""
    assert "a" in fleet.roster.running


def test_a_silent_guest_is_ended_at_the_deadline(fleet: Fleet) -> None:
    with pytest.raises(TimedOut, match=r"^L2 a: waited 0\.1 s for 'hello'; last line: nothing"):
        fleet.start("silent", timeout_s=0.1)
    wait_until_gone(NoCgroup.made[0].pids[0])
    assert fleet.guests.stop_all() == []


def test_names_are_taken_once_and_all_are_stopped(fleet: Fleet) -> None:
    pids = [fleet.start(name=name).pid for name in ("a", "b")]
    with pytest.raises(GuestError, match=r"^an L2 called 'a' is already there$"):
        fleet.start()
    assert fleet.guests.stop_all() == ["a", "b"]
    for pid in pids:
        wait_until_gone(pid)


def test_a_missing_qemu_is_named(fleet: Fleet) -> None:
    with pytest.raises(LabError, match="program not found: no-such-qemu"):
        fleet.guests.start("a", ["no-such-qemu"])
    assert fleet.guests.stop_all() == []


def test_a_qemu_that_aborts_before_its_greeting_is_started_again_and_that_is_recorded(
    fleet: Fleet, tmp_path: Path
) -> None:
    assert fleet.start(f"aborts until {tmp_path / 'tries'}").attempts == 3
    assert fleet.guests.stop_all() == ["a"]
    assert fleet.start().attempts == 1


def test_a_qemu_that_goes_on_aborting_is_reported(fleet: Fleet) -> None:
    with pytest.raises(GuestKilled, match=r"L2 a: QEMU sent no QMP greeting .*; QEMU: killed by signal 6"):
        fleet.start("aborts")
    assert len(NoCgroup.made) == MOST_ATTEMPTS


# --- launched ahead --------------------------------------------------------------------------------


def test_a_launched_guest_is_the_one_that_is_started(fleet: Fleet) -> None:
    fleet.launch()
    with pytest.raises(GuestError, match="an L2 called 'a' is already there"):
        fleet.launch()
    assert fleet.start().hello == "hello cpus=2 kvmapf=1"
    assert len(NoCgroup.made) == 1
    assert fleet.guests.stop_all() == ["a"]


def test_a_launched_guest_that_dies_is_reported_when_it_is_started(fleet: Fleet) -> None:
    fleet.launch("dies at once")
    with pytest.raises(GuestFailed, match=r"L2 a: QEMU sent no QMP greeting .*; QEMU: exit status 3"):
        fleet.start()
    assert fleet.start().hello, "the name is free again"


@pytest.mark.parametrize(("mode", "names"), [("well", ["a"]), ("dies at once", [])])
def test_what_was_only_launched_is_ended_too(fleet: Fleet, mode: str, names: list[str]) -> None:
    fleet.launch(mode)
    assert fleet.guests.stop_all() == names
    wait_until_gone(NoCgroup.made[0].pids[0])
    assert fleet.start().hello, "the name is free again"


# --- commands --------------------------------------------------------------------------------------


def test_commands_and_their_lines(fleet: Fleet) -> None:
    fleet.start()
    lines = ["progress reads=1", "progress reads=2", "ready pages=4"]
    assert fleet.guests.command("a", "load x", "ready") == lines
    assert fleet.guests.command("a", "load x", "progress") == lines[:1]
    assert fleet.guests.listen("a", "ready") == lines[1:]
    answer = fleet.guests.qmp("a", "migrate", {"some_name": 1})
    assert answer == {"seen": "migrate", "with": {"some-name": 1}}


@pytest.mark.parametrize("ask", ["command", "listen", "finish_lap"])
def test_a_death_is_reported_at_once_and_by_its_kind(fleet: Fleet, ask: str) -> None:
    fleet.start()
    began = time.monotonic()
    fleet.roster["a"].vcpu_threads()
    fleet.roster["a"].send("fail")
    calls = {
        "command": lambda: fleet.guests.command("a", "load x", "never"),
        "listen": lambda: fleet.guests.listen("a", "ready"),
        "finish_lap": lambda: fleet.guests.finish_lap("a"),
    }
    for _ in range(2):
        with pytest.raises(GuestFailed, match="QEMU: exit status 5"):
            calls[ask]()
    assert time.monotonic() - began < 2


# --- laps ------------------------------------------------------------------------------------------


class Laps:
    """Notes by which lap a wait judges; each lap takes the CPU time that it is set to."""

    def __init__(self, guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
        self.takes_s, self._vcpu_s = 0.0, 100.0
        self.judged_by: list[float] = []
        self._until = guest.until
        monkeypatch.setattr(guest, "until", self.until)
        monkeypatch.setattr(guest, "vitals", lambda: Vitals((0.0,), (self._vcpu_s,), 0, (0, 0, 0)))

    def until(self, verb: str, timeout_s: float, lap_s: float = 0.0) -> list[str]:
        self.judged_by.append(lap_s)
        lines = self._until(verb, timeout_s)
        self._vcpu_s += self.takes_s
        return lines


def test_a_lap_is_judged_by_the_longest_of_this_boot(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.start()
    laps = Laps(fleet.roster["a"], monkeypatch)
    for laps.takes_s in (4.0, 9.0, 6.0, 1.0):
        fleet.roster["a"].send("start laps=1")
        assert fleet.guests.finish_lap("a") == ["running", "stopped reads=9 laps=1"]
    assert laps.judged_by == [liveness.UNMEASURED_LAP_S, 4.0, 9.0, 9.0]


def test_what_l0_took_away_is_not_of_the_lap(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.start()
    laps = Laps(fleet.roster["a"], monkeypatch)
    monkeypatch.setattr(clock, "slowdown", 4.0)
    for laps.takes_s in (12.0, 1.0):
        fleet.roster["a"].send("start laps=1")
        fleet.guests.finish_lap("a")
    assert laps.judged_by == [liveness.UNMEASURED_LAP_S, 3.0]


def test_a_lap_that_was_almost_over_is_no_measure(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundredth of a second would make a guest stuck that has not reported for a moment."""
    fleet.start()
    laps = Laps(fleet.roster["a"], monkeypatch)
    for laps.takes_s in (0.01, 0.0):
        fleet.roster["a"].send("start laps=1")
        fleet.guests.finish_lap("a")
    assert laps.judged_by == [liveness.UNMEASURED_LAP_S, liveness.LEAST_LAP_S]


# --- counters and memory ---------------------------------------------------------------------------


def test_counters_and_paging_out_are_of_the_guest_that_was_named(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = {name: fleet.start(name=name).pid for name in ("a", "b")}
    calls: list[object] = []

    def all_out(pid: int, size: int, cgroup: Cgroup, timeout_s: float) -> PageOut:
        calls.append((pid, size, cgroup.name, timeout_s))
        return PageOut(left_bytes=4096, seconds=0.5)

    def pressed(cgroup: Cgroup, timeout_s: float) -> PageOut:
        calls.append((cgroup.name, timeout_s))
        return PageOut(left_bytes=0, seconds=0.1)

    monkeypatch.setattr(module, "page_out_all", all_out)
    monkeypatch.setattr(module, "press_out", pressed)
    monkeypatch.setattr(module, "read_counters", lambda guest: {"exits": guest.process.pid})
    assert fleet.guests.page_out("b", 96, 20.0) == PageOut(4096, 0.5)
    assert fleet.guests.page_out("a", 96, 20.0, pressure=True) == PageOut(0, 0.1)
    assert calls == [(pids["b"], 96 * MIB, "b", 20.0), ("a", 20.0)]
    assert fleet.guests.counters("b") == {"exits": pids["b"]}


def test_nothing_can_be_asked_of_a_guest_that_is_not_there(fleet: Fleet) -> None:
    for ask in (fleet.guests.counters, fleet.guests.finish_lap, fleet.guests.stop):
        with pytest.raises(GuestloopError, match="no L2 is called 'none'"):
            ask("none")
