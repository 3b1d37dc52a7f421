# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu.qmp's asynchronous client behind blocking calls. All sessions share one event loop in one thread."""

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
                return future.result(deadline.step)
            except concurrent.futures.TimeoutError:
                if future.done():  # by now: with a result, or with a time-out of its own
                    return future.result()
                if deadline.passed:
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


class Session:
    """One QMP session, see qmp.py."""

    def __init__(self, name: str, connected: socket.socket, timeout_s: float) -> None:
        self._name = name
        self._client = QMPClient(name)
        self._run("greeting", self._client.connect(connected), timeout_s)

    def execute(self, command: str, arguments: Mapping[str, object], timeout_s: float) -> Any:
        """Run one command."""
        return self._run(command, self._client.execute(command, dict(arguments) or None), timeout_s)

    def close(self) -> None:
        """Drop the session."""
        # the other end may be gone already, which is what was wanted
        with suppress(QMPError, OSError, EOFError, TimeoutError):
            _shared_loop().run(self._client.disconnect(), 5.0)

    def _run(self, what: str, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        try:
            return _shared_loop().run(work, timeout_s)
        except ExecuteError as error:
            raise Refused(f"{self._name}: QMP {what} refused: {error}") from error
        except TimeoutError as error:
            raise TimedOut(f"{self._name}: QMP {what}: no answer in {timeout_s:g} s") from error
        # qemu.qmp asserts that a session which it has just begun has not ended already
        except (QMPError, OSError, EOFError, AssertionError) as error:
            raise Disconnected(f"{self._name}: QMP {what}: connection lost ({error})") from error
