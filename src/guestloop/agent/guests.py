# SPDX-License-Identifier: GPL-2.0-or-later
"""The L2 guests of this L1, by name: started, commanded and ended from L0."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guestloop.agent import liveness
from guestloop.agent.counters import read_counters
from guestloop.agent.guest import Guest
from guestloop.agent.memory import PageOut, page_out_all, press_out
from guestloop.agent.page_sizes import PageSizes, read_page_sizes
from guestloop.ground.errors import GuestError, GuestKilled, GuestloopError
from guestloop.ground.units import MIB
from guestloop.ground.wait import clock

START_S = 120.0
"""From QEMU's start to the payload's ``hello``."""

MOST_ATTEMPTS = 3

COMMAND_S = 600.0
"""A backstop for answers of the payload: a guest that is stuck is found by what it does not do."""


class Roster:
    """The guests that run, for all services of the agent."""

    def __init__(self) -> None:
        self.running: dict[str, Guest] = {}

    def __getitem__(self, name: str) -> Guest:
        if name not in self.running:
            raise GuestError(f"no L2 is called {name!r}; running: {sorted(self.running)}")
        return self.running[name]


@dataclass(frozen=True)
class Started:
    """A guest that runs: the payload's first line (empty for one that awaits a migration), and QEMU's pid.

    ``attempts``: how often QEMU was started for it, see Opened.
    """

    hello: str
    seconds: float
    pid: int
    attempts: int


@dataclass(frozen=True)
class Opened:
    """A guest whose QEMU has sent its greeting, after so many attempts.

    With a dirty ring, QEMU 7.2 aborts when its vCPUs do not exist a second after KVM was initialized: its
    reaper does not expect that (accel/kvm/kvm-all.c: kvm_dirty_ring_reap_one). On a busy machine that
    happens. No guest has run then, and nothing was measured, so it is started again; the round records it.
    """

    guest: Guest
    attempts: int


def open_guest(name: str, argv: list[str], directory: Path) -> Opened:
    """Start QEMU. Raises what Guest raises, a QEMU killed before its greeting only when that goes on."""
    attempts = 1
    while True:
        try:
            return Opened(Guest(name, argv, directory), attempts)
        except GuestKilled:
            if attempts == MOST_ATTEMPTS:
                raise
            attempts += 1


class Guests:
    """Service: every L2 by its name."""

    def __init__(self, roster: Roster, directory: Path) -> None:
        self._roster, self._directory = roster, directory
        self._launched: dict[str, Future[Opened]] = {}
        self._launcher = ThreadPoolExecutor(thread_name_prefix="launch")
        self._lap_s = 0.0  # CPU time of a vCPU in the longest lap of this boot, 0 before there was one

    def launch(self, name: str, argv: list[str]) -> None:
        """Begin to start an L2 while others are at work; ``start`` then waits for it."""
        self._refuse_twice(name)
        self._launched[name] = self._launcher.submit(open_guest, name, argv, self._directory / name)

    def start(
        self, name: str, argv: list[str], incoming: bool = False, timeout_s: float = START_S
    ) -> Started:
        """Start an L2 and wait for its payload's ``hello``.

        One that waits for an ``incoming`` migration has no payload yet that could say anything.
        """
        started = time.monotonic()
        if launched := self._launched.pop(name, None):
            opened = launched.result()  # bounded by QEMU's greeting
        else:
            self._refuse_twice(name)
            opened = open_guest(name, argv, self._directory / name)
        guest = opened.guest
        guest.incoming = incoming
        self._roster.running[name] = guest
        try:
            hello = "" if incoming else guest.until("hello", timeout_s)[-1]
        except BaseException:
            self._end(name)
            raise
        return Started(hello, time.monotonic() - started, guest.process.pid, opened.attempts)

    def command(self, name: str, line: str, until: str, timeout_s: float = COMMAND_S) -> list[str]:
        """Send the payload a command; returns its lines up to the one that begins with ``until``."""
        guest = self._roster[name]
        guest.send(line)
        return guest.until(until, timeout_s, self._longest_lap_s)

    def listen(self, name: str, until: str, timeout_s: float = COMMAND_S) -> list[str]:
        """Lines the payload sends unasked, up to the one that begins with ``until``."""
        return self._roster[name].until(until, timeout_s, self._longest_lap_s)

    def finish_lap(self, name: str, timeout_s: float = COMMAND_S) -> list[str]:
        """Wait for the end of the laps that a ``start laps=N`` began.

        A load that runs without getting on is stuck after 20 times the CPU time of the longest lap that
        this boot has seen.
        """
        guest = self._roster[name]
        before = guest.vitals()
        lines = guest.until("stopped", timeout_s, self._longest_lap_s)
        lap_s = max(liveness.spent(guest.vitals(), before), default=0.0) / clock.slowdown
        self._lap_s = max(self._lap_s, liveness.LEAST_LAP_S, lap_s)
        return lines

    @property
    def _longest_lap_s(self) -> float:
        return self._lap_s or liveness.UNMEASURED_LAP_S

    def qmp(self, name: str, command: str, arguments: dict[str, Any], timeout_s: float = 60.0) -> Any:
        """Run one QMP command in an L2's QEMU; ``_`` in argument names becomes ``-``."""
        return self._roster[name].execute(command, timeout_s, **arguments)

    def counters(self, name: str) -> dict[str, int]:
        """KVM's statistics of an L2, see counters.read_counters."""
        return read_counters(self._roster[name])

    def page_sizes(self, name: str) -> PageSizes:
        """What sizes of pages an L2's RAM is made of, see page_sizes.read_page_sizes."""
        return read_page_sizes(self._roster[name])

    def page_out(self, name: str, ram_mib: int, timeout_s: float, pressure: bool = False) -> PageOut:
        """Page an L2's RAM out, see memory.page_out_all; ``pressure``: memory.press_out."""
        guest = self._roster[name]
        if pressure:
            return press_out(guest.cgroup, timeout_s)
        return page_out_all(guest.process.pid, ram_mib * MIB, guest.cgroup, timeout_s)

    def stop(self, name: str) -> str:
        """End an L2 and forget it; returns the end of its console.

        Raises GuestCrashed and its like when it had ended by itself: whatever failed because of that, or
        nothing at all if it happened after the last check, the round must know.
        """
        guest = self._roster[name]
        try:
            if error := guest.ended_unasked():
                raise error
            return guest.tail()
        finally:
            self._end(name)

    def _end(self, name: str) -> None:
        self._roster.running.pop(name).close()

    def stop_all(self) -> list[str]:
        """End every L2 that is left, also those that were only launched; returns their names."""
        names = list(self._roster.running)
        for name in names:
            self._end(name)
        for name in list(self._launched):
            with suppress(GuestloopError):  # one that did not come up has nothing to end
                self._launched.pop(name).result().guest.close()
                names.append(name)
        return names

    def _refuse_twice(self, name: str) -> None:
        if name in self._roster.running or name in self._launched:
            raise GuestError(f"an L2 called {name!r} is already there")
