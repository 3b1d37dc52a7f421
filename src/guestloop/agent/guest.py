# SPDX-License-Identifier: GPL-2.0-or-later
"""One L2: its QEMU, its QMP, and the line protocol of the payload in the guest."""

from __future__ import annotations

import queue
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from guestloop.agent.cgroup import Cgroup
from guestloop.agent.liveness import UNMEASURED_LAP_S, Vigil, Vitals, read_vitals
from guestloop.ground import proc
from guestloop.ground.console import find_panic
from guestloop.ground.errors import (
    Disconnected,
    GuestCrashed,
    GuestError,
    GuestFailed,
    GuestKilled,
    GuestStuck,
    Refused,
    TimedOut,
    describe_status,
)
from guestloop.ground.qmp import Qmp
from guestloop.ground.units import MIB
from guestloop.ground.wait import Deadline, clock

CONSOLE_LINES = 40
ENDING_S = 2.0
LOOK_S = 1.0
MEM_PATH = re.compile(r"\bmem-path=([^,]+)")
VISITS = re.compile(r"\breads=(\d+)")
GONE = "\0gone"  # queued when the port closes


class Guest:
    """One L2. ``argv`` names the file descriptors QEMU inherits as ``@qmp@`` and ``@port@``."""

    def __init__(self, name: str, argv: Sequence[str], directory: Path) -> None:
        self.name, self.directory = name, directory
        self.console, self.output = directory / "console.log", directory / "qemu.log"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self.ram = ram_file(argv)
        self.incoming = False  # it awaits a migration, or has awaited one
        self.progress: list[tuple[float, str]] = []
        """What the payload reported about its progress, each with the time (monotonic, s) it came."""
        self._stack = ExitStack()
        self._lines: queue.Queue[str] = queue.Queue()
        self._vcpus: list[int] = []
        self._visits = 0
        try:
            self._open(argv)
        except BaseException:
            self._stack.close()
            raise

    def _open(self, argv: Sequence[str]) -> None:
        ours, theirs = zip(*(socket.socketpair() for _ in range(2)), strict=True)
        names = {"@qmp@": str(theirs[0].fileno()), "@port@": str(theirs[1].fileno())}
        filled = [_fill(argument, names) for argument in argv]
        if self.ram:
            self._stack.callback(self.ram.unlink, missing_ok=True)  # QEMU makes it and leaves it
        self.cgroup = Cgroup(self.name)
        self._stack.callback(self.cgroup.remove)
        output = self._stack.enter_context(self.output.open("wb"))
        descriptors = [end.fileno() for end in theirs]
        self.process = self._stack.enter_context(
            proc.spawn(filled, stdout=output, pass_fds=descriptors, quick=True)
        )
        self.cgroup.add(self.process.pid)
        for end in theirs:
            end.close()  # QEMU has its own copy: when it dies, ours must see the end of file
        self._port = ours[1]
        self._stack.callback(self._port.close)
        threading.Thread(target=self._receive, name=f"port-{self.name}", daemon=True).start()
        try:
            self.qmp = Qmp(self.name, ours[0])
        except Disconnected as error:
            raise self.how_it_ended(f"QEMU sent no QMP greeting ({error})") from error
        self._stack.callback(self.qmp.close)

    def _receive(self) -> None:
        try:
            with suppress(OSError):
                for line in self._port.makefile("r", encoding="ascii", errors="replace"):
                    if line.startswith("progress "):
                        self.progress.append((time.monotonic(), line.rstrip("\n")))
                    if found := VISITS.search(line):
                        self._visits = int(found[1])
                    self._lines.put(line.rstrip("\n"))
        finally:
            self._lines.put(GONE)

    def until(self, verb: str, timeout_s: float, lap_s: float = UNMEASURED_LAP_S) -> list[str]:
        """Lines of the payload up to and with the first that begins with ``verb``.

        ``lap_s`` is the CPU time of a vCPU in a lap, see liveness.Vigil. Raises Refused when the payload
        answers ``error``, GuestStuck when the guest is, GuestCrashed and its like when QEMU ends, TimedOut
        after ``timeout_s``.
        """
        deadline = Deadline(timeout_s)
        seen: list[str] = []
        vigil: Vigil | None = None
        while not deadline.passed:  # also when the guest never stops talking
            try:
                line = self._lines.get(timeout=min(LOOK_S, deadline.left))
            except queue.Empty:
                vigil = self._watch(vigil, verb, lap_s)
                continue
            if line == GONE:
                self._lines.put(GONE)  # it stays gone, for whoever asks next
                raise self.how_it_ended(f"QEMU ended while {verb!r} was awaited")
            seen.append(line)
            word = line.split(" ", 1)[0]
            if word == "error":
                raise Refused(f"L2 {self.name}: the payload refused: {line}")
            if word == verb:
                return seen
        last = seen[-1] if seen else "nothing"
        raise TimedOut(
            f"L2 {self.name}: waited {timeout_s:g} s for {verb!r}; last line: {last}\n{self.tail()}"
        )

    def _watch(self, vigil: Vigil | None, verb: str, lap_s: float) -> Vigil:
        """Look whether the guest is dead or stuck. Raises GuestCrashed or GuestStuck with what was seen."""
        if self.panicked():  # QEMU ends by that, unless the kernel hangs as it dies
            raise self.how_it_ended(f"nothing came while {verb!r} was awaited")
        now = self.vitals()
        if vigil is None:
            return Vigil(now, lap_s)
        if reason := vigil.look(now, clock.slowdown):
            state = self.execute("query-status")["status"]
            what = f"L2 {self.name} does not answer with {verb!r}: {reason}"
            if state != "running":
                raise GuestError(f"{what}; QEMU says that it is {state}\n{self.tail()}")
            raise GuestStuck(f"{what}\n{self.tail()}")
        return vigil

    def vitals(self) -> Vitals:
        """What the guest has done so far, see liveness."""
        return read_vitals(self.process.pid, self.vcpu_threads(), self._visits)

    def send(self, line: str) -> None:
        """One command for the payload."""
        try:
            self._port.sendall(line.encode("ascii") + b"\n")
        except OSError as error:
            raise self.how_it_ended(f"cannot send {line!r} ({error})") from error

    def execute(self, command: str, timeout_s: float = 60.0, **arguments: object) -> Any:
        """Run one QMP command. A connection that is lost means that QEMU ended: raises how."""
        return self._reporting_its_end(lambda: self.qmp.execute(command, timeout_s, **arguments))

    def execute_as_spelt(self, command: str, arguments: Mapping[str, object], timeout_s: float = 60.0) -> Any:
        """The same with argument names that are right as they are."""
        return self._reporting_its_end(lambda: self.qmp.execute_as_spelt(command, arguments, timeout_s))

    def _reporting_its_end(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Disconnected as error:
            raise self.how_it_ended(error.first_line) from error

    def tail(self) -> str:
        """The end of the console and of QEMU's own output, for a message."""
        parts = []
        for path in (self.console, self.output):
            text = path.read_text(errors="replace") if path.exists() else ""
            parts += [f"  {path.name} | {line}" for line in text.splitlines()[-CONSOLE_LINES:]]
        return "\n".join(parts)

    def vcpu_threads(self) -> list[int]:
        """The threads of its vCPUs, in order."""
        if not self._vcpus:
            self._vcpus = [cpu["thread-id"] for cpu in self.execute("query-cpus-fast")]
        return self._vcpus

    def ended(self) -> str:
        """How QEMU ended, empty while it runs."""
        status = self.process.poll()
        if status is None:
            return ""
        if status == -signal.SIGBUS and self.ram:
            free = shutil.disk_usage(self.ram.parent).free // MIB
            return f"{describe_status(status)} (SIGBUS; {free} MiB free for its RAM in {self.ram.parent})"
        return describe_status(status)

    def panicked(self) -> str:
        """What the guest's kernel said when it panicked, empty when it did not."""
        return find_panic(self.console.read_text(errors="replace")) if self.console.exists() else ""

    def give_time_to_end(self) -> None:
        """A QEMU that has let go of a socket is about to end, and how is what one wants to know."""
        with suppress(proc.STILL_RUNNING):
            self.process.wait(ENDING_S * clock.pace)

    def how_it_ended(self, what: str) -> GuestError:
        """The error for a QEMU that ended, or lets go: of the kind that says why.

        A guest whose memory was damaged panics or resets; QEMU, told not to reboot, then exits with 0.
        """
        self.give_time_to_end()
        panic, status = self.panicked(), self.process.poll()
        said = f"the guest panicked ({panic}); {what}" if panic else what
        return end_kind(panic, status)(
            f"L2 {self.name}: {said}; QEMU: {self.ended() or 'still running'}\n{self.tail()}"
        )

    def ended_unasked(self) -> GuestError | None:
        """How it ended, when it did so before anybody stopped it."""
        if self.process.poll() is None and not self.panicked():
            return None
        error = self.how_it_ended("it had ended before it was stopped")
        # The QEMU of a destination ends with an error when its migration is cancelled.
        return None if self.incoming and isinstance(error, GuestFailed) else error

    def close(self) -> None:
        """End QEMU, whatever state it is in."""
        self._stack.close()


def end_kind(panic: str, status: int | None) -> type[GuestError]:
    """What the end of a guest means: ``status`` is QEMU's exit status, None while it runs."""
    if panic or status == 0:
        return GuestCrashed
    if status is None:
        return Disconnected
    return GuestKilled if status < 0 else GuestFailed


def _fill(argument: str, names: dict[str, str]) -> str:
    for placeholder, value in names.items():
        argument = argument.replace(placeholder, value)
    return argument


def ram_file(argv: Sequence[str]) -> Path | None:
    """The file that holds the guest's RAM, when its memory backend is one."""
    found = next((match for word in argv if (match := MEM_PATH.search(word))), None)
    return Path(found[1]) if found else None
