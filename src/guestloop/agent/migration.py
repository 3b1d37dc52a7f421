# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrate an L2 from one QEMU of this L1 to another, and read what is counted at every turn of it.

A **mark** is such a reading. The watcher takes one whenever the source's status or its count of dirty
rounds changes, so that the difference of two marks is what a phase of the migration did.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guestloop.agent import faults, ram
from guestloop.agent.counters import Names, counter_names, read_counters
from guestloop.agent.guest import Guest, end_kind
from guestloop.agent.guests import Roster
from guestloop.agent.memory import HUGE_POOL, read_vmstat
from guestloop.agent.trace import Trace
from guestloop.ground.errors import (
    GuestCrashed,
    GuestError,
    GuestKilled,
    GuestloopError,
    InternalError,
    MigrationFailed,
    TimedOut,
)
from guestloop.ground.units import PAGE
from guestloop.ground.wait import clock, wait_for

POLL_S = 0.01
ENDED = ("completed", "failed", "cancelled")
HELD = ("setup", "active")
# What the phase is called that begins when the source reports this status.
PHASES = {
    "setup": "logging-on",
    "pre-switchover": "stop",
    "device": "stop",
    "postcopy-active": "postcopy",
    "completed": "stop",
    "cancelling": "logging-off",
    "cancelled": "logging-off",
}
EVIDENCE_S = 5.0
VIRTIO_PATH = "/machine/peripheral-anon/device[0]/virtio-backend"
VIRTIO = tuple(f"info virtio-queue-status {VIRTIO_PATH} {queue}" for queue in (4, 5))
WATCHER_END_S = 10.0
SOCKET = Path("/run/guestloop/migration.sock")


@dataclass(frozen=True)
class Mark:
    """A reading where the phase ``label`` begins, ``at_s`` on L1's monotonic clock.

    ``source`` and ``destination`` are KVM's counters of each guest; ``vmstat`` and ``histograms`` are of all
    of L1; ``migration`` is what query-migrate answered, empty where nobody asked.
    """

    label: str
    at_s: float
    source: dict[str, int]
    destination: dict[str, int]
    vmstat: dict[str, int]
    histograms: dict[str, str]
    migration: dict[str, Any]


class Migration:
    """Service: one migration at a time, between two guests that are named when it is prepared."""

    def __init__(self, roster: Roster, trace: Trace) -> None:
        self._roster, self._trace = roster, trace
        self._source: Guest | None = None
        self._destination: Guest | None = None
        self._names: Names | None = None
        self._watcher: threading.Thread | None = None
        self._marks: list[Mark] = []
        self._marking = threading.Lock()
        self._seen: dict[str, Any] = {}
        self._lost: GuestloopError | None = None
        self._round_s, self._least = 0.0, 0
        self._last: dict[str, dict[str, int]] = {}
        self._planned: tuple[str, faults.Fault] | None = None

    def prepare(
        self, source: str, destination: str, capabilities: Sequence[str], parameters: dict[str, Any]
    ) -> None:
        """Name the two guests; capabilities and parameters go to both; the destination listens."""
        if self._watcher:
            self._watcher.join(WATCHER_END_S)
        self._source, self._destination = self._roster[source], self._roster[destination]
        self._names = self._names or counter_names(self._source)
        self._marks, self._seen, self._last, self._lost = [], {}, {}, None
        wanted = [{"capability": name, "state": True} for name in capabilities]
        for guest in (self._source, self._destination):
            guest.execute("migrate-set-capabilities", capabilities=wanted)
            guest.execute("migrate-set-parameters", **parameters)
        self._destination.execute("migrate-incoming", uri=f"unix:{SOCKET}")

    def pause(self, name: str, label: str) -> None:
        """A mark while the guest is at rest, after which it goes on."""
        guest = self._roster[name]
        guest.execute("stop")
        try:
            self.mark(label)
        finally:
            guest.execute("cont")

    def begin(self, round_s: float = 0.0, least_bytes_per_s: int = 0) -> None:
        """Start migrating, and watching it.

        ``round_s``: from the second dirty round on the bandwidth is set so that each takes about so long,
        which keeps the load from being outrun, but never below ``least_bytes_per_s``; 0: it is left alone.
        """
        source, _ = self._both()
        self._round_s, self._least = round_s, least_bytes_per_s
        self.mark("logging-on")
        source.execute("migrate", uri=f"unix:{SOCKET}")
        self._watcher = threading.Thread(target=self._watch, args=(source,), daemon=True)
        self._watcher.start()

    def _watch(self, source: Guest) -> None:
        known: tuple[str, int] = ("setup", 0)
        pause = threading.Event()
        try:
            while known[0] not in ENDED:
                answer = source.execute("query-migrate")
                status, rounds = answer.get("status", "setup"), _rounds(answer)
                if (status, rounds) != known:
                    self._pace(source, answer)
                    phase = phase_of(status, rounds)
                    self._mark(phase, answer)
                    self._break(phase)
                    known = status, rounds
                # only now: whoever waits for this finds the mark taken
                self._seen = answer
                pause.wait(POLL_S)
        except GuestloopError as error:
            self._lost = error
        except OSError as error:  # of the tracing files, or of a process that has just gone
            self._lost = GuestError(f"the watcher of the migration: {error}")
        except Exception as error:  # noqa: BLE001 - it has no caller: whoever waits is told
            self._lost = InternalError(f"the watcher of the migration failed: {error!r}")
            self._lost.__cause__ = error

    def break_at(self, phase: str, fault: faults.Fault) -> None:
        """Break the next migration on purpose when this phase of it begins, see faults.Fault."""
        self._planned = phase, fault

    def _break(self, phase: str) -> None:
        if self._planned and self._planned[0] == phase:
            (_, fault), self._planned = self._planned, None
            faults.inflict(fault, *self._both(), SOCKET)

    def _pace(self, source: Guest, answer: dict[str, Any]) -> None:
        left = int(answer.get("ram", {}).get("remaining", 0))
        if self._round_s and answer["status"] == "active" and _rounds(answer) > 1:
            # A guest that L0 starves of CPU time needs as much longer to dirty its pages again.
            bandwidth = max(int(left / self._round_s), self._least) / clock.pace
            source.execute("migrate-set-parameters", max_bandwidth=int(bandwidth))

    def release(self, downtime_ms: int, bytes_per_s: int) -> None:
        """Let the migration end as soon as it can."""
        source, _ = self._both()
        self._round_s = 0.0
        source.execute("migrate-set-parameters", downtime_limit=downtime_ms, max_bandwidth=bytes_per_s)

    def mark(self, label: str) -> None:
        """Read the counters of both guests, and of L1; the histograms last, see workloads/reading.py."""
        self._mark(label, {})

    def _mark(self, label: str, migration: dict[str, Any]) -> None:
        """One at a time: the watcher marks too, and marks must be in the order of their readings."""
        with self._marking:
            at_s, vmstat = time.monotonic(), read_vmstat()
            source, destination = self._both()
            there, here = self._read(destination), self._read(source)
            self._marks.append(Mark(label, at_s, here, there, vmstat, self._trace.read(), migration))

    def _read(self, guest: Guest) -> dict[str, int]:
        """A guest's counters; of one that has ended, as a destination does when it is given up, the last."""
        try:
            self._last[guest.name] = read_counters(guest, self._names)
        except GuestloopError:
            if guest is self._source or guest.name not in self._last:
                raise
        return self._last[guest.name]

    def take_marks(self) -> list[Mark]:
        """All marks so far."""
        return self._marks

    def wait(self, states: Sequence[str], rounds: int, stalled_s: float) -> dict[str, Any]:
        """Wait until the source reports one of these states, or so many dirty rounds (0: never mind).

        ``stalled_s`` bounds the time without progress (a new status, a new dirty round, more pages sent),
        not the whole. Returns what ``query-migrate`` said. Raises GuestError when the migration ends
        otherwise, stops making progress, or a QEMU is gone.
        """

        def probe() -> dict[str, Any] | None:
            if isinstance(self._lost, InternalError):
                raise self._lost
            if self._lost:
                what = f"the source's QEMU does not answer: {self._lost.first_line}"
                raise self._broken(what, type(self._lost))
            status = self._seen.get("status", "setup")
            if status in states or (rounds and status == "active" and _rounds(self._seen) >= rounds):
                return self._seen
            if status in (*ENDED, "postcopy-paused") or (rounds and status not in HELD):
                raise self._broken(f"the migration is {status}: {self._seen.get('error-desc', 'no reason')}")
            return None

        what = f"the migration to be {' or '.join(states)}" + (f" or in round {rounds}" if rounds else "")
        try:
            return wait_for(
                what,
                probe,
                stalled_s,
                interval=POLL_S,
                last_seen=lambda: _summary(self._seen),
                progress=lambda: _progress(self._seen),
            )
        except TimedOut as error:
            raise self._broken(str(error), TimedOut) from error

    def _broken(self, what: str, kind: type[GuestloopError] = MigrationFailed) -> GuestloopError:
        """What became of both QEMUs, and the ends of their consoles and outputs.

        Of ``kind``, unless a QEMU has ended or its guest panicked, which then is the reason.
        """
        source, destination = self._both()
        roles = {"source": source, "destination": destination}
        (source if self._lost else destination).give_time_to_end()
        ends = [f"{role}: {guest.ended()}" for role, guest in roles.items() if guest.ended()]
        panics = [
            f"{role}: the guest panicked ({panic})"
            for role, guest in roles.items()
            if (panic := guest.panicked())
        ]
        first = "; ".join([what, *panics, *ends])
        tails = [f"{role} {guest.name}:\n{guest.tail()}" for role, guest in roles.items()]
        message = "\n".join([first, _summary(self._seen), *tails])
        return _worst_end(roles.values(), kind)(message)

    def evidence(self) -> dict[str, Any]:
        """All that the QEMUs of both guests still tell about themselves."""
        return {
            guest.name: {
                "ended": guest.ended(),
                "tail": guest.tail().splitlines(),
                **{what: _try(guest, what) for what in ("query-status", "query-migrate")},
                **{what: _monitor(guest, what) for what in ("info registers -a", *VIRTIO)},
            }
            for guest in self._both()
        }

    def compare(self) -> ram.Compared:
        """Compare the RAM files of source and destination, see ram.compare."""
        source, destination = self._both()
        if not source.ram or not destination.ram:
            raise GuestError("the RAM of source or destination is not in a file")
        return ram.compare(source.ram, destination.ram)

    def progress(self, name: str) -> list[tuple[float, str]]:
        """The progress that a guest told through its port, with L1's time (monotonic, s)."""
        return self._roster[name].progress

    def pin(self, name: str) -> None:
        """Give a guest's first vCPU the last CPU of L1; everything else of all guests goes to the others."""
        cpus = sorted(os.sched_getaffinity(0))
        for guest in self._roster.running.values():
            for task in Path(f"/proc/{guest.process.pid}/task").iterdir():
                with suppress(ProcessLookupError):  # a thread that has just ended
                    os.sched_setaffinity(int(task.name), cpus[:-1] or cpus)
        os.sched_setaffinity(self._roster[name].vcpu_threads()[0], cpus[-1:])

    def huge_pages(self, pages: int) -> int:
        """Have so many huge pages of 2 MiB in the pool; gives how many there are."""
        HUGE_POOL.write_text(f"{pages}")
        return int(HUGE_POOL.read_text())

    def connections(self) -> int:
        """How many connections the migration uses: its own, and one for each channel of multifd."""
        _, destination = self._both()
        try:
            return len(faults.connections(destination.process.pid, SOCKET))
        except FileNotFoundError as error:  # of its directory in /proc
            raise self._broken("the destination's QEMU is gone") from error

    def small_tmpfs(self, path: str, mib: int) -> None:
        """A tmpfs that is too small for what is put there."""
        faults.mount_tmpfs(Path(path), mib)

    def _both(self) -> tuple[Guest, Guest]:
        if not self._source or not self._destination:
            raise GuestError("no migration was prepared")
        return self._source, self._destination


def _worst_end(guests: Iterable[Guest], otherwise: type[GuestloopError]) -> type[GuestloopError]:
    """A guest that crashed is a finding, one that was killed explains the rest.

    A destination that gives up by itself, with an error status, did so because the migration failed.
    """
    kinds = [end_kind(guest.panicked(), guest.process.poll()) for guest in guests]
    return next((kind for kind in (GuestCrashed, GuestKilled) if kind in kinds), otherwise)


def _try(guest: Guest, command: str, **arguments: object) -> Any:
    try:
        return guest.execute(command, EVIDENCE_S, **arguments)
    except GuestloopError as error:
        return str(error).splitlines()[0]


def _monitor(guest: Guest, line: str) -> list[str]:
    return str(_try(guest, "human-monitor-command", command_line=line)).splitlines()


def phase_of(status: str, rounds: int) -> str:
    """Name of the phase that begins with this status and this count of dirty rounds."""
    if status == "active":
        return f"round-{rounds}" if rounds else "logging-on"
    return PHASES.get(status, status)


def _rounds(answer: dict[str, Any]) -> int:
    return int(answer.get("ram", {}).get("dirty-sync-count", 0))


def _progress(answer: dict[str, Any]) -> tuple[object, ...]:
    """What changes as long as a migration goes on."""
    ram = answer.get("ram", {})
    return answer.get("status"), _rounds(answer), ram.get("transferred", 0)


def _summary(answer: dict[str, Any]) -> str:
    left = int(answer.get("ram", {}).get("remaining", 0)) // PAGE
    return f"status {answer.get('status', 'none')}, dirty round {_rounds(answer)}, {left} pages left"
