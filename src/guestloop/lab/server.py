"""The lab process: ``python -m guestloop.lab.server``, spec on stdin, ends at the end of stdin."""

from __future__ import annotations

import json
import os
import signal
import socket
import socketserver
import struct
import sys
import threading
from typing import Any

from guestloop.ground.errors import GuestError, GuestloopError
from guestloop.lab.spec import LabSpec, parse_lab_spec
from guestloop.vm.l1 import Machine

MAX_FAILED_BOOTS = 2


class Slot:
    """The L1 of one kernel: booted when first needed, booted again after it broke."""

    def __init__(self, spec: LabSpec, kernel: str) -> None:
        self._spec, self._kernel = spec, kernel
        self._lock = threading.Lock()
        self._machine: Machine | None = None
        self._boots = self._failed = 0
        self._used = False
        self._failure: GuestloopError | None = None

    def acquire(self, fresh: bool = False) -> dict[str, Any]:
        """A living L1 without guests: boots one when there is none that answers, or none that is unused
        and ``fresh`` is wanted.

        Says which boot it is and where its console is.

        Raises what the boot raised; after two failed boots in a row it is not tried again.
        """
        with self._lock:
            if self._machine:
                try:
                    self._machine.check_alive()
                    self._machine.call("guests.stop_all")  # a test that was killed may have left some
                except GuestloopError:
                    self._drop()
            if fresh and self._used:
                self._drop()
            if self._machine is None:
                self._machine = self._boot()
                self._used = False
            machine = self._machine
        return {
            "boot": self._boots,
            "boot_seconds": machine.boot_seconds,
            "console": str(machine.console.path),
            "hello": machine.hello,
            "vendor": self._spec.vendor,
            "request": self._spec.requests[self._kernel],
        }

    def _boot(self) -> Machine:
        if self._failed >= MAX_FAILED_BOOTS and self._failure:
            raise self._failure
        self._boots += 1
        try:
            directory = self._spec.directory / f"{self._kernel}.{self._boots}"
            machine = Machine(self._spec.parts[self._kernel], directory)
        except GuestloopError as error:
            self._failed, self._failure = self._failed + 1, error
            raise
        self._failed = 0
        return machine

    def call(self, method: str, params: dict[str, Any], timeout_s: float) -> Any:
        """Call the agent of the L1 that ``acquire`` gave; never boots."""
        machine = self._machine
        if machine is None:
            raise GuestError(f"L1 {self._kernel} is not running")
        self._used = True
        return machine.call(method, params, timeout_s)

    def throttle_swap(self, reads_per_second: int) -> None:
        """See Machine.throttle_swap; nothing to do for an L1 that is gone."""
        if self._machine:
            self._machine.throttle_swap(reads_per_second)

    def warnings(self) -> list[str]:
        """Complaints of the L1 kernel on its console since it booted."""
        return self._machine.console.warnings() if self._machine else []

    def _drop(self) -> None:
        if self._machine:
            self._machine.close()
            self._machine = None

    def close(self) -> None:
        with self._lock:
            self._drop()


class Lab:
    """All slots, and the requests that tests make.

    ``lease`` is held by the connection of the one test that measures: rounds never run side by side,
    however many tests are started at once.
    """

    def __init__(self, spec: LabSpec) -> None:
        self.lease = threading.Lock()
        self._slots = {kernel: Slot(spec, kernel) for kernel in spec.parts}

    def boot_ahead(self) -> None:
        """Boot every L1 in the background; what fails is told to the test that asks for it."""
        for slot in self._slots.values():
            threading.Thread(target=_ignore_failure, args=(slot,), daemon=True).start()

    def answer(self, line: bytes) -> dict[str, Any]:
        """Serve one request of a test."""
        try:
            request = json.loads(line)
            slot = self._slots[request["kernel"]]
            match request["op"]:
                case "acquire":
                    return {"result": slot.acquire(request["fresh"])}
                case "warnings":
                    return {"result": slot.warnings()}
                case "call":
                    params, timeout_s = request["params"], request["timeout_s"]
                    return {"result": slot.call(request["method"], params, timeout_s)}
                case "throttle":
                    slot.throttle_swap(request["reads"])
                    return {"result": None}
                case unknown:
                    raise LookupError(f"unknown request {unknown!r}")
        except GuestloopError as error:
            trace = getattr(error, "traceback", "")
            return {"error": {"message": str(error), "hint": error.hint, "traceback": trace}}
        except Exception as error:  # noqa: BLE001 - the test that asked is the one to be told
            return {"error": {"message": f"{type(error).__name__}: {error}", "hint": "", "traceback": ""}}

    def close(self) -> None:
        """End every L1."""
        for slot in self._slots.values():
            slot.close()


def _ignore_failure(slot: Slot) -> None:
    try:
        slot.acquire()
    except GuestloopError:
        return  # kept in the slot, raised again by the acquire of a test


class _Connection(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        if _peer_uid(self.connection) != os.getuid():
            return  # an abstract socket has no file permissions
        with self.server.lab.lease:
            for line in self.rfile:
                self.wfile.write(json.dumps(self.server.lab.answer(line)).encode() + b"\n")


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, name: str, lab: Lab) -> None:
        super().__init__(f"\0{name}", _Connection)
        self.lab = lab


def _peer_uid(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", credentials)
    return int(uid)


def main() -> None:
    """Serve until stdin ends, which is when the run ends, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the run's to handle, stdin tells us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    spec = parse_lab_spec(sys.stdin.readline())
    lab = Lab(spec)
    with _Server(spec.socket, lab) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        lab.boot_ahead()
        try:
            sys.stdin.read()
        finally:
            lab.close()


if __name__ == "__main__":
    main()
