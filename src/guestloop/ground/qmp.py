# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP, synchronous: used on L0 for L1's QEMU, and by the agent in L1 for the QEMUs of L2 guests.

QEMU gets its end of a socket pair as a file descriptor, so there is no socket file to collide with, to
outgrow the 108 bytes of a path, or to leave behind.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any


class Qmp:
    """One QMP session over a connected socket.

    Raises Refused when QEMU refuses a command, Disconnected when it is gone, TimedOut without an answer.
    """

    def __init__(self, name: str, connected: socket.socket, timeout_s: float = 30.0) -> None:
        # Tests on L0 know this class by the agent's services and talk to no QEMU: no asyncio for them.
        from guestloop.ground.qmp_session import Session

        self.name = name
        self._session = Session(name, connected, timeout_s)

    def execute(self, command: str, timeout_s: float = 30.0, **arguments: object) -> Any:
        """Run one command and give its ``return``; ``_`` in argument names becomes ``-``."""
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        return self.execute_as_spelt(command, named, timeout_s)

    def execute_as_spelt(self, command: str, arguments: Mapping[str, object], timeout_s: float = 30.0) -> Any:
        """Run one command whose argument names are right as they are."""
        return self._session.execute(command, arguments, timeout_s)

    def close(self) -> None:
        """Drop the session; QEMU goes on."""
        self._session.close()
