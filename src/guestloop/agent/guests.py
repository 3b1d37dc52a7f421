"""L2 guests: one QEMU each, its QMP, and the line protocol of the payload in the guest."""

from __future__ import annotations

import queue
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from guestloop.agent.counters import read_counters
from guestloop.agent.memory import Cgroup, page_out_all, press_out
from guestloop.ground import proc
from guestloop.ground.errors import GuestError, GuestloopError, TimeoutError_
from guestloop.ground.qmp import Qmp
from guestloop.ground.wait import Deadline

CONSOLE_LINES = 40
ENDING_S = 2.0
MEM_PATH = re.compile(r"\bmem-path=([^,]+)")
PANIC = re.compile(r"Kernel panic[^\n]*")
GONE = "\0gone"  # queued when the port closes


class Guest:
    """One L2. ``argv`` names the file descriptors QEMU inherits as ``@qmp@`` and ``@port@``."""

    def __init__(self, name: str, argv: Sequence[str], directory: Path) -> None:
        self.name, self.directory = name, directory
        self.console, self.output = directory / "console.log", directory / "qemu.log"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self.ram = ram_file(argv)
        self.progress: list[tuple[float, str]] = []
        """What the payload said about its progress, each with the time (monotonic, s) it came."""
        self._stack = ExitStack()
        self._lines: queue.Queue[str] = queue.Queue()
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
        except GuestloopError as error:
            raise self._dead(f"QEMU gave no QMP greeting ({error})") from error
        self._stack.callback(self.qmp.close)

    def _receive(self) -> None:
        with suppress(OSError):
            for line in self._port.makefile("r", encoding="ascii", errors="replace"):
                if line.startswith("progress "):
                    self.progress.append((time.monotonic(), line.rstrip("\n")))
                self._lines.put(line.rstrip("\n"))
        self._lines.put(GONE)

    def until(self, verb: str, timeout_s: float) -> list[str]:
        """Lines of the payload up to and with the first that begins with ``verb``.

        Raises GuestError when the payload answers ``error``, QEMU ends or the guest panics,
        TimeoutError_ after ``timeout_s``.
        """
        deadline = Deadline(timeout_s)
        seen: list[str] = []
        while not deadline.passed:  # also when the guest never stops talking
            try:
                line = self._lines.get(timeout=deadline.left)
            except queue.Empty:
                break
            if line == GONE:
                raise self._dead(f"QEMU ended while {verb!r} was awaited")
            seen.append(line)
            word = line.split(" ", 1)[0]
            if word == "error":
                raise GuestError(f"L2 {self.name}: the payload refused: {line}")
            if word == verb:
                return seen
        last = seen[-1] if seen else "nothing"
        raise TimeoutError_(
            f"L2 {self.name}: waited {timeout_s:g} s for {verb!r}; last line: {last}\n{self.tail()}"
        )

    def send(self, line: str) -> None:
        """One command for the payload."""
        try:
            self._port.sendall(line.encode("ascii") + b"\n")
        except OSError as error:
            raise self._dead(f"cannot send {line!r} ({error})") from error

    def tail(self) -> str:
        """The end of the console and of QEMU's own output, for a message."""
        parts = []
        for path in (self.console, self.output):
            text = path.read_text(errors="replace") if path.exists() else ""
            parts += [f"  {path.name} | {line}" for line in text.splitlines()[-CONSOLE_LINES:]]
        return "\n".join(parts)

    def vcpu_threads(self) -> list[int]:
        """The threads of its vCPUs, in order."""
        return [cpu["thread-id"] for cpu in self.qmp.execute("query-cpus-fast")]

    def ended(self) -> str:
        """How QEMU ended, empty while it runs."""
        status = self.process.poll()
        if status is None:
            return ""
        if status == -signal.SIGBUS and self.ram:
            free = shutil.disk_usage(self.ram.parent).free >> 20
            return f"killed by signal {-status} (SIGBUS; {free} MiB free for its RAM in {self.ram.parent})"
        return f"killed by signal {-status}" if status < 0 else f"exit status {status}"

    def panicked(self) -> str:
        """What the guest's kernel said when it panicked, empty when it did not."""
        text = self.console.read_text(errors="replace") if self.console.exists() else ""
        found = PANIC.search(text)
        return found[0].strip() if found else ""

    @contextmanager
    def telling_its_end(self) -> Iterator[None]:
        """A QMP connection that is lost in the body means that QEMU ended: say how, with its console."""
        try:
            yield
        except GuestloopError as error:
            if "connection lost" not in str(error):
                raise
            raise self._dead(str(error).splitlines()[0]) from error

    def give_time_to_end(self) -> None:
        """A QEMU that has let go of a socket is about to end, and how is what one wants to know."""
        with suppress(proc.STILL_RUNNING):
            self.process.wait(ENDING_S)

    def _dead(self, what: str) -> GuestError:
        self.give_time_to_end()
        said = f"the guest panicked ({panic}); {what}" if (panic := self.panicked()) else what
        return GuestError(f"L2 {self.name}: {said}; QEMU: {self.ended() or 'still running'}\n{self.tail()}")

    def close(self) -> None:
        """End QEMU, whatever state it is in."""
        self._stack.close()


def _fill(argument: str, names: dict[str, str]) -> str:
    for placeholder, value in names.items():
        argument = argument.replace(placeholder, value)
    return argument


def ram_file(argv: Sequence[str]) -> Path | None:
    """The file that holds the guest's RAM, when its memory backend is one."""
    found = next((match for word in argv if (match := MEM_PATH.search(word))), None)
    return Path(found[1]) if found else None


class Guests:
    """The L2 guests of this L1, by name. Public methods are called from L0."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._guests: dict[str, Guest] = {}
        self._launched: dict[str, Future[Guest]] = {}
        self._launcher = ThreadPoolExecutor(thread_name_prefix="launch")

    def get(self, name: str) -> Guest:
        if name not in self._guests:
            raise GuestError(f"no L2 is called {name!r}; running: {sorted(self._guests)}")
        return self._guests[name]

    def all(self) -> list[Guest]:
        return list(self._guests.values())

    def launch(self, name: str, argv: list[str]) -> None:
        """Begin to start an L2 while others are at work; ``start`` then waits for it."""
        self._refuse_twice(name)
        self._launched[name] = self._launcher.submit(Guest, name, argv, self._directory / name)

    def start(self, name: str, argv: list[str], timeout_s: float, incoming: bool = False) -> dict[str, Any]:
        """Start an L2 and wait for its payload's ``hello``; gives that line and the seconds it took.

        One that waits for an incoming migration has no payload yet that could say anything.
        """
        started = time.monotonic()
        if launched := self._launched.pop(name, None):
            guest = launched.result(timeout_s)
        else:
            self._refuse_twice(name)
            guest = Guest(name, argv, self._directory / name)
        self._guests[name] = guest
        try:
            hello = "" if incoming else guest.until("hello", timeout_s)[-1]
        except BaseException:
            self.stop(name)
            raise
        return {"hello": hello, "seconds": time.monotonic() - started, "pid": guest.process.pid}

    def command(self, name: str, line: str, until: str, timeout_s: float) -> list[str]:
        """Send the payload a command; gives its lines up to the one that begins with ``until``."""
        guest = self.get(name)
        guest.send(line)
        return guest.until(until, timeout_s)

    def listen(self, name: str, until: str, timeout_s: float) -> list[str]:
        """Lines the payload says unasked, up to the one that begins with ``until``."""
        return self.get(name).until(until, timeout_s)

    def qmp(self, name: str, command: str, arguments: dict[str, Any], timeout_s: float = 30.0) -> Any:
        """Run one QMP command in an L2's QEMU."""
        guest = self.get(name)
        with guest.telling_its_end():
            return guest.qmp.execute(command, timeout_s, **arguments)

    def counters(self, name: str) -> dict[str, int]:
        """KVM's statistics of an L2, see counters.read_counters."""
        guest = self.get(name)
        with guest.telling_its_end():
            return read_counters(guest.qmp)

    def console(self, name: str) -> str:
        """The guest's console and QEMU's own output so far (the end of them)."""
        return self.get(name).tail()

    def page_out(self, name: str, ram_mib: int, timeout_s: float, pressure: bool = False) -> dict[str, float]:
        """Page an L2's RAM out, see memory.page_out_all; ``pressure``: memory.press_out."""
        guest = self.get(name)
        if pressure:
            return press_out(guest.cgroup, timeout_s)
        return page_out_all(guest.process.pid, ram_mib << 20, guest.cgroup, timeout_s)

    def stop(self, name: str) -> str:
        """End an L2 and forget it; gives the end of its console."""
        guest = self.get(name)
        del self._guests[name]
        try:
            return guest.tail()
        finally:
            guest.close()

    def stop_all(self) -> list[str]:
        """End every L2 that is left, also those that were only launched; gives their names."""
        names = list(self._guests)
        for name in names:
            self.stop(name)
        for name in list(self._launched):
            with suppress(GuestloopError):  # one that did not come up has nothing to end
                self._launched.pop(name).result().close()
                names.append(name)
        return names

    def _refuse_twice(self, name: str) -> None:
        if name in self._guests or name in self._launched:
            raise GuestError(f"an L2 called {name!r} is already there")
