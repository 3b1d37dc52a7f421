# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands in for a QEMU process."""

from __future__ import annotations

from collections.abc import Callable

from guestloop.ground import proc

KILLED = -9


class ScriptedProcess:
    """Runs until it is told how it ended; ``when_ended`` then closes what it had open."""

    pid = 0  # has nothing in /proc

    def __init__(self, when_ended: Callable[[], None]) -> None:
        self._status: int | None = None
        self._when_ended = when_ended

    def end(self, status: int) -> None:
        """It exits with this status; negative: the signal that ended it."""
        if self._status is None:
            self._status = status
            self._when_ended()

    def kill(self) -> None:
        self.end(KILLED)

    def poll(self) -> int | None:
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Never waits: what a script does is done at once."""
        if self._status is None:
            raise proc.STILL_RUNNING("scripted", timeout or 0.0)
        return self._status
