# SPDX-License-Identifier: GPL-2.0-or-later
"""One L2 with a stand-in for QEMU: how it answers, and every way in which it does not any more."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stand_in import NoCgroup, StandIn

from guestloop.agent import guest as module
from guestloop.agent.guest import Guest, end_kind, ram_file
from guestloop.agent.liveness import IDLE_LIMIT_S, SPIN_LAPS, Vitals
from guestloop.ground import proc
from guestloop.ground.errors import (
    Disconnected,
    GuestCrashed,
    GuestError,
    GuestFailed,
    GuestKilled,
    GuestStuck,
    LabError,
    Refused,
    TimedOut,
)
from guestloop.ground.wait import wait_for

SOON_S = 10.0  # on a busy machine too; what would be waited for takes 30 s and more
LONG_S = 30.0  # reached only when a test fails


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return StandIn(tmp_path, monkeypatch)


@pytest.fixture
def guest(qemu: StandIn) -> Iterator[Guest]:
    with qemu.running() as guest:
        yield guest


@pytest.fixture
def at_once() -> Iterator[None]:
    """What is known must be reported when it is known, and not after a time-out."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < SOON_S


# --- answers ---------------------------------------------------------------------------------------


def test_lines_up_to_the_one_that_was_awaited(guest: Guest) -> None:
    guest.send("load x")
    assert guest.until("ready", LONG_S) == ["progress reads=1", "progress reads=2", "ready pages=4"]
    guest.send("load x")
    assert guest.until("progress", LONG_S) == ["progress reads=1"]
    assert guest.until("ready", LONG_S) == ["progress reads=2", "ready pages=4"]


def test_progress_is_kept_with_the_time_it_came(guest: Guest) -> None:
    began = time.monotonic()
    guest.send("load x")
    guest.until("ready", LONG_S)
    times, lines = zip(*guest.progress, strict=True)
    assert lines == ("progress reads=1", "progress reads=2")
    assert began <= times[0] <= times[1] <= time.monotonic()
    assert guest.vitals().visits == 2


def test_the_payload_may_refuse_and_goes_on(guest: Guest) -> None:
    guest.send("refuse")
    with pytest.raises(Refused, match=r"^L2 a: the payload refused: error unknown command$"):
        guest.until("ready", LONG_S)
    guest.send("load x")
    assert guest.until("ready", LONG_S)[-1] == "ready pages=4"


def test_silence_ends_at_the_deadline_with_the_last_line(guest: Guest) -> None:
    with pytest.raises(TimedOut, match=r"^L2 a: waited 0\.05 s for 'ready'; last line: nothing\n"):
        guest.until("ready", 0.05)


def test_a_guest_that_never_stops_talking_is_not_waited_for(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()

    def chatter(timeout: float) -> str:
        assert time.monotonic() - began < SOON_S, "the deadline was not looked at"
        return "still here"

    monkeypatch.setattr(guest, "_lines", SimpleNamespace(get=chatter, put=print))
    with pytest.raises(TimedOut, match=r"waited 0\.05 s for 'ready'; last line: still here"):
        guest.until("ready", 0.05)


def test_qmp_of_a_guest(guest: Guest) -> None:
    assert guest.execute("migrate", some_name=1) == {"seen": "migrate", "with": {"some-name": 1}}
    seen = guest.execute_as_spelt("old", {"some_name": 1})
    assert seen == {"seen": "old", "with": {"some_name": 1}}
    with pytest.raises(Refused, match=r"^a: QMP no-such-command refused: not found$"):
        guest.execute("no-such-command")
    assert guest.vcpu_threads() == [guest.process.pid]


# --- ends ------------------------------------------------------------------------------------------

ENDS: dict[str, tuple[type[GuestError], str]] = {
    "reset": (GuestCrashed, "QEMU: exit status 0"),
    "panic": (GuestCrashed, "QEMU: exit status 0"),
    "fail": (GuestFailed, "QEMU: exit status 5"),
    "die-of 9": (GuestKilled, "QEMU: killed by signal 9"),
    "die-of 7": (GuestKilled, "QEMU: killed by signal 7"),
}
EACH = pytest.mark.parametrize(("command", "end"), ENDS.items(), ids=ENDS)


@pytest.mark.usefixtures("at_once")
@EACH
def test_the_end_of_qemu_says_what_became_of_the_guest(
    guest: Guest, command: str, end: tuple[type[GuestError], str]
) -> None:
    guest.send(command)
    with pytest.raises(GuestError) as raised:
        guest.until("ready", LONG_S)
    assert type(raised.value) is end[0]
    assert "QEMU ended while 'ready' was awaited" in raised.value.first_line
    assert raised.value.first_line.startswith("L2 a: ") and raised.value.first_line.endswith(end[1])


ASKED: dict[str, Callable[[Guest], object]] = {
    "waiting again": lambda guest: guest.until("ready", LONG_S),
    "sending": lambda guest: guest.send("load x"),
    "QMP": lambda guest: guest.execute("query-status"),
    "QMP as spelt": lambda guest: guest.execute_as_spelt("query-status", {}),
}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("asked", ASKED)
def test_a_guest_that_is_gone_stays_gone_whoever_asks(guest: Guest, asked: str) -> None:
    guest.vcpu_threads()
    guest.send("reset")
    with pytest.raises(GuestCrashed):
        guest.until("ready", LONG_S)
    with pytest.raises(GuestCrashed, match="QEMU: exit status 0"):
        ASKED[asked](guest)


def test_the_message_has_the_panic_and_the_last_words_of_both(guest: Guest) -> None:
    guest.send("panic")
    with pytest.raises(GuestCrashed) as raised:
        guest.until("ready", LONG_S)
    first, *rest = str(raised.value).splitlines()
    assert first == (
        "L2 a: the guest panicked (Kernel panic - not syncing: Oops); QEMU ended while 'ready' was awaited; "
        "QEMU: exit status 0"
    )
    assert "  console.log | [ 1.0] BUG: unable to handle page fault" in rest
    assert "  qemu.log | stand-in: well" in rest


@pytest.mark.usefixtures("at_once")
def test_a_panic_that_hangs_the_guest_is_seen_on_its_console(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    monkeypatch.setattr(module, "ENDING_S", 0.01)
    guest.send("hang-panicked")
    with pytest.raises(GuestCrashed, match=r"^L2 a: the guest panicked .*; QEMU: still running\n"):
        guest.until("ready", LONG_S)


def test_a_qemu_that_lets_go_and_runs_on_is_not_called_dead(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENDING_S", 0.01)
    guest.send("let-go")
    with pytest.raises(Disconnected, match=r"QEMU ended while 'ready' was awaited; QEMU: still running"):
        guest.until("ready", LONG_S)


@pytest.mark.usefixtures("at_once")
def test_death_before_the_greeting(qemu: StandIn) -> None:
    with pytest.raises(GuestFailed, match=r"^L2 a: QEMU sent no QMP greeting .*; QEMU: exit status 3\n"):
        Guest("a", qemu.argv(mode="dies at once"), qemu.directory / "a")
    assert NoCgroup.made[0].removed


def test_a_missing_qemu_is_named(qemu: StandIn) -> None:
    with pytest.raises(LabError, match="program not found: no-such-qemu"):
        Guest("a", ["no-such-qemu"], qemu.directory / "a")
    assert NoCgroup.made[0].removed


@pytest.mark.parametrize(
    ("panic", "status", "kind"),
    [
        ("", None, Disconnected),
        ("", 0, GuestCrashed),
        ("", 1, GuestFailed),
        ("", -9, GuestKilled),
        ("Kernel panic", None, GuestCrashed),
        ("Kernel panic", 1, GuestCrashed),
        ("Kernel panic", -9, GuestCrashed),
    ],
)
def test_what_an_end_means(panic: str, status: int | None, kind: type[GuestError]) -> None:
    assert end_kind(panic, status) is kind


# --- stuck -----------------------------------------------------------------------------------------


def looks(monkeypatch: pytest.MonkeyPatch, guest: Guest, *vitals: Vitals) -> None:
    """The guest is looked at without pause, and these are its vitals; the last ones for ever."""
    left = list(vitals)
    monkeypatch.setattr(module, "LOOK_S", 0.001)
    monkeypatch.setattr(guest, "vitals", lambda: left.pop(0) if len(left) > 1 else left[0])


def idle(seconds: float, visits: int = 7) -> Vitals:
    return Vitals(idle_s=(seconds,), vcpus_s=(0.0,), visits=visits, faults=(3, 2, 0))


def spun(seconds: float) -> Vitals:
    return Vitals(idle_s=(0.0,), vcpus_s=(seconds,), visits=7, faults=(3, 2, 0))


@pytest.mark.usefixtures("at_once")
def test_a_guest_that_owes_an_answer_and_does_nothing_is_stuck(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks(monkeypatch, guest, idle(0), idle(IDLE_LIMIT_S / 2), idle(IDLE_LIMIT_S))
    with pytest.raises(GuestStuck) as raised:
        guest.until("ready", LONG_S)
    assert raised.value.first_line == (
        "L2 a does not answer with 'ready': nothing moved while L1 was idle for 20 s of CPU time: "
        "7 pages visited, 3 faults taken, 2 fixed"
    )
    assert "  qemu.log | stand-in: well" in str(raised.value)


@pytest.mark.usefixtures("at_once")
def test_a_guest_that_spins_is_stuck_by_the_time_of_its_laps(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks(monkeypatch, guest, spun(0), spun(SPIN_LAPS * 0.5))
    with pytest.raises(GuestStuck, match=r"a vCPU ran for 10 s while not a page was visited, 20 times"):
        guest.until("ready", LONG_S, lap_s=0.5)
    looks(monkeypatch, guest, spun(0), spun(SPIN_LAPS * 0.5))
    with pytest.raises(TimedOut):
        guest.until("ready", 0.1, lap_s=0.6)


def test_a_guest_that_moves_is_waited_for(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    looks(monkeypatch, guest, *(idle(15.0 * number, visits=number) for number in range(2000)))
    with pytest.raises(TimedOut):
        guest.until("ready", 0.1)


def test_under_load_idle_time_counts_for_less(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "clock", SimpleNamespace(pace=8.0, slowdown=4.0))
    looks(monkeypatch, guest, idle(0), idle(4 * IDLE_LIMIT_S - 1))
    with pytest.raises(TimedOut):
        guest.until("ready", 0.1)


@pytest.mark.usefixtures("at_once")
def test_a_guest_that_qemu_has_paused_is_not_stuck(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    guest.send("pause")
    wait_for("the stand-in to pause", lambda: guest.execute("query-status")["status"] == "paused" or None, 10)
    looks(monkeypatch, guest, idle(0), idle(IDLE_LIMIT_S))
    with pytest.raises(GuestError, match=r"does not answer .*; QEMU says that it is paused\n") as raised:
        guest.until("ready", LONG_S)
    assert type(raised.value) is GuestError


# --- its files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "ends"), [(["sleep", "60"], False), (["true"], True)])
def test_a_qemu_gets_time_to_end_but_not_for_ever(
    command: list[str], ends: bool, qemu: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENDING_S", 5.0 if ends else 0.02)
    with qemu.running() as guest, proc.spawn(command, quick=True) as guest.process:
        guest.give_time_to_end()
        assert (guest.process.returncode is not None) == ends


def test_ram_in_a_file_is_found_and_removed_in_the_end(qemu: StandIn, tmp_path: Path) -> None:
    path = tmp_path / "a.ram"
    argv = [*qemu.argv(), "-object", f"memory-backend-file,id=ram,mem-path={path},share=on"]
    guest = Guest("a", argv, qemu.directory / "a")
    assert guest.ram == path
    path.write_bytes(b"RAM")
    guest.send("die-of 7")
    with pytest.raises(GuestKilled, match=rf"signal 7 \(SIGBUS; \d+ MiB free for its RAM in {tmp_path}\)"):
        guest.until("ready", LONG_S)
    guest.close()
    assert not path.exists()


def test_ram_without_a_file() -> None:
    assert ram_file(["-object", "memory-backend-ram,id=ram,size=96M"]) is None


def test_what_was_left_of_an_earlier_guest_is_not_taken_for_its_own(qemu: StandIn) -> None:
    (qemu.directory / "a").mkdir(parents=True)
    (qemu.directory / "a/console.log").write_text("Kernel panic - not syncing: long ago\n")
    with qemu.running() as guest:
        assert guest.panicked() == ""
        assert NoCgroup.made[0].pids == [guest.process.pid]


def test_a_reader_that_breaks_does_not_leave_anybody_waiting(
    qemu: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_line: str) -> Any:
        raise RuntimeError("a fault of the reader")

    monkeypatch.setattr(module, "VISITS", SimpleNamespace(search=broken))
    monkeypatch.setattr(module, "ENDING_S", 0.01)
    monkeypatch.setattr(threading, "excepthook", lambda _fault: None)
    guest = Guest("a", qemu.argv(), qemu.directory / "a")
    try:
        with pytest.raises(Disconnected):
            guest.until("hello", LONG_S)
    finally:
        guest.close()


def test_closing_kills_whatever_state_it_is_in(qemu: StandIn) -> None:
    with qemu.running() as guest:
        process = guest.process
        assert process.poll() is None
    assert process.returncode == -signal.SIGKILL
    assert NoCgroup.made[0].removed
