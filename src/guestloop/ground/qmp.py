"""A synchronous front to qemu.qmp's asynchronous client.

All clients share one event loop in one thread. Used on L0 for L1's QEMU and by the agent in L1 for
the QEMUs of L2 guests. QEMU gets its end of a socket pair as a file descriptor, so there is no
socket file to collide with, to outgrow the 108 bytes of a path, or to leave behind.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import threading
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from qemu.qmp import ExecuteError, QMPClient, QMPError

from guestloop.ground.errors import Disconnected, Refused, TimedOut
from guestloop.ground.wait import Deadline

T = TypeVar("T")


class _Loop:
    """The event loop that owns every QMP client of this process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True).start()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        deadline = Deadline(timeout_s)
        while True:
            try:
                return future.result(deadline.left)
            except concurrent.futures.TimeoutError:
                if future.done() or deadline.passed:  # the work's own time-out, or ours
                    future.cancel()
                    raise


_loop: _Loop | None = None
_loop_lock = threading.Lock()


def _shared_loop() -> _Loop:
    global _loop
    with _loop_lock:
        if _loop is None:
            _loop = _Loop()
        return _loop


class Qmp:
    """One QMP session over a connected socket.

    Raises Refused when QEMU refuses a command, Disconnected when it is gone, TimedOut without an answer.
    """

    def __init__(self, name: str, connected: socket.socket, timeout_s: float = 30.0) -> None:
        self.name = name
        self._client = QMPClient(name)
        self._run("greeting", self._client.connect(connected), timeout_s)

    def execute(self, command: str, timeout_s: float = 30.0, **arguments: object) -> Any:
        """Run one command and give its ``return``; ``_`` in argument names becomes ``-``."""
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        return self.execute_as_spelt(command, named, timeout_s)

    def execute_as_spelt(self, command: str, arguments: Mapping[str, object], timeout_s: float = 30.0) -> Any:
        """Run one command whose argument names are right as they are."""
        return self._run(command, self._client.execute(command, dict(arguments) or None), timeout_s)

    def close(self) -> None:
        """Drop the session; QEMU goes on."""
        # the other end may be gone already, which is what was wanted
        with suppress(QMPError, OSError, EOFError, TimeoutError):
            _shared_loop().run(self._client.disconnect(), 5.0)

    def _run(self, what: str, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        try:
            return _shared_loop().run(work, timeout_s)
        except ExecuteError as error:
            raise Refused(f"{self.name}: QMP {what} refused: {error}") from error
        except TimeoutError as error:
            raise TimedOut(f"{self.name}: QMP {what}: no answer in {timeout_s:g} s") from error
        except (QMPError, OSError, EOFError) as error:
            raise Disconnected(f"{self.name}: QMP {what}: connection lost ({error})") from error
