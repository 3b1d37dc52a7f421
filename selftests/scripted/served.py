# SPDX-License-Identifier: GPL-2.0-or-later
"""The connection between the lab and a scripted agent as it really is, but for SSH below it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from guestloop.ground.rpc import Caller, Methods, serve_lines
from guestloop.vm.link import Link


class SocketLink(Link):
    """From the lab to the agent of a scripted L1, over a socket pair."""

    def __init__(self, name: str, methods: Methods) -> None:
        self.name = name
        self._ends = socket.socketpair()
        ours, theirs = self._ends
        lines, sink = theirs.makefile("rb"), theirs.makefile("wb", buffering=0)
        threading.Thread(
            target=serve_lines, args=(methods, lines, sink), name="scripted-agent", daemon=True
        ).start()
        self._caller = Caller(f"L1 {name}", ours.sendall, ours.makefile("r"))

    def close(self) -> None:
        for end in self._ends:
            with suppress(OSError):  # closed already
                end.shutdown(socket.SHUT_RDWR)
            end.close()
