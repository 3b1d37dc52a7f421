# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab process: ``python -m guestloop.lab.server``, spec on stdin, ends at the end of stdin."""

from __future__ import annotations

import os
import signal
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Mapping
from typing import IO, cast

from guestloop.ground.rpc import KeepsFaults, Methods, serve_lines
from guestloop.ground.threads import watch_threads
from guestloop.lab.pace import Pace
from guestloop.lab.services import Lab, LabServices
from guestloop.lab.slot import Slot
from guestloop.lab.spec import LabSpec, parse_lab_spec
from guestloop.results.late import write_late

LOOK_S = 0.1  # between two looks of the server at whether it is to end


class _Connection(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        if _peer_uid(self.connection) != os.getuid():
            return  # an abstract socket has no file permissions
        with self.server.lease:
            serve_lines(self.server.methods, self.rfile, cast("IO[bytes]", self.wfile))


class _Server(KeepsFaults, socketserver.ThreadingUnixStreamServer):
    """``lease`` is held by the connection of the one test that measures: rounds never run side by side,
    however many tests are started at once."""

    daemon_threads = True

    def __init__(self, name: str, slots: Mapping[str, Slot]) -> None:
        super().__init__(f"\0{name}", _Connection)
        self.lease = threading.Lock()
        self.methods = Methods(LabServices(Lab(slots)))


def _peer_uid(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", credentials)
    return int(uid)


def boot_ahead(slots: Mapping[str, Slot]) -> None:
    """Boot every L1 in the background."""
    for name, slot in slots.items():
        threading.Thread(target=slot.boot_ahead, name=f"boot-{name}", daemon=True).start()


def make_pace(slots: Mapping[str, Slot]) -> Pace:
    """The pace of this machine, measured on the L1s of these slots."""

    def pids() -> list[int]:
        pace.speed = max((slot.boot_speed for slot in slots.values()), default=1.0)
        return [pid for slot in slots.values() if (pid := slot.pid) is not None]

    def tell(factor: float, slowdown: float) -> None:
        for slot in slots.values():
            slot.set_pace(factor, slowdown)

    pace = Pace(pids, tell)
    return pace


def close(slots: Mapping[str, Slot], spec: LabSpec) -> None:
    """End every L1. What its kernel complained of after the last round is kept for the verdict."""
    write_late(spec.directory, {name: lines for name, slot in slots.items() if (lines := slot.close())})


def main() -> None:
    """Serve until stdin ends, which is when the run ends, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the run's to handle, stdin tells us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    watch_threads()
    spec = parse_lab_spec(sys.stdin.readline())
    slots = {kernel: Slot(spec, kernel) for kernel in spec.parts}
    with _Server(spec.socket, slots) as server:
        threading.Thread(target=server.serve_forever, args=(LOOK_S,), name="serve", daemon=True).start()
        pace = make_pace(slots)
        pace.start()
        boot_ahead(slots)
        try:
            sys.stdin.read()
        finally:
            server.shutdown()  # on a closed socket its thread would never rest
            pace.stop()
            close(slots, spec)


if __name__ == "__main__":
    main()
