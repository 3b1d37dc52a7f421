# SPDX-License-Identifier: GPL-2.0-or-later
"""The process that a run on this host belongs to, when nobody is connected.

It runs one command, passes an interrupt on to it, once, and leaves its exit status. It has the lock of the
attempt, and that of the checkout, from the process that started it. If it is killed, the guard ends the run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import IO

from guestloop.ground import proc
from guestloop.ground.errors import Exit, GuestloopError
from guestloop.ground.isolated import settle
from guestloop.remote.there.runs import ENDED, RUNNING, Attempt
from guestloop.results.files import write_bytes

ENDING = (signal.SIGINT, signal.SIGTERM)


class Supervisor:
    """One attempt."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._process: proc.Popen | None = None
        self._asked = self._told = False

    def run(self) -> None:
        """Run the command to its end. Raises nothing: all of it is in the log."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in ENDING:
            signal.signal(number, self._interrupt)
        running = self._attempt.directory / RUNNING
        running.touch()
        write_bytes(self._attempt.begun, str(os.getpid()).encode())
        with self._attempt.log.open("ab", buffering=0) as log:
            try:
                status = self._run(log)
            except GuestloopError as error:
                log.write(f"guestloop: {error.render()}\n".encode())
                status = error.exit_status
        running.rename(running.with_name(f"{ENDED}{_as_shell(status)}"))

    def _run(self, log: IO[bytes]) -> int:
        command = json.loads(self._attempt.command.read_text())
        with (
            self._attempt.stdout.open("ab", buffering=0) as stdout,
            proc.spawn(
                command["argv"],
                cwd=Path(command["directory"]),
                env=command["environment"],
                stdout=stdout,
                stderr=log,
            ) as self._process,
        ):
            self._pass_on()
            return self._process.wait()

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
        self._pass_on()

    def _pass_on(self) -> None:
        """Once: a second interrupt would disturb it while it ends its guests."""
        if self._asked and self._process and not self._told:
            self._told = True
            self._process.send_signal(signal.SIGINT)


def _as_shell(status: int) -> int:
    """An exit status from 0 to 255, 128 and the number of the signal that ended it."""
    return 128 - status if status < 0 else status


def main(directory: Path, out: Path) -> int:
    """Supervise the attempt in a directory."""
    settle()
    Supervisor(Attempt(directory, out)).run()
    return Exit.OK


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
