# SPDX-License-Identifier: GPL-2.0-or-later
"""Begin an attempt at a run, and interrupt one."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from guestloop.ground import proc
from guestloop.ground.errors import LabError
from guestloop.ground.isolated import python
from guestloop.ground.wait import wait_for
from guestloop.remote.request import State
from guestloop.remote.there.runs import Attempt, Place, Run
from guestloop.results.files import write_json
from guestloop.results.plan import PLAN_FILE

START_S = 30.0


def begin(place: Place, run: Run, number: int, limit: Sequence[str]) -> None:
    """Begin an attempt in a session of its own. Nothing is done if it has begun.

    Raises ConfigError when there is no such run, LabError if its supervisor does not start.
    """
    words = _words(run, limit)
    attempt = run.attempt(number)
    attempt.directory.mkdir(parents=True, exist_ok=True)
    lock = attempt.lock()
    if lock is None:
        return
    try:
        if not attempt.begun.exists():
            _write_command(place, run, attempt, words)
            with _checkout_in_use(place) as checkout:
                _start(attempt, [lock, *checkout])
    finally:
        os.close(lock)  # the supervisor has it too


def _words(run: Run, limit: Sequence[str]) -> list[str]:
    """A run that has a plan goes on by it; one that has none yet is begun by its own words."""
    request = run.request()
    if (run.out / PLAN_FILE).exists():
        return ["--resume", os.fspath(run.out), *limit]
    return [*request.words, *limit, "--out", os.fspath(run.out)]


def _write_command(place: Place, run: Run, attempt: Attempt, words: Sequence[str]) -> None:
    command = {
        "argv": [os.fspath(place.checkout / "scripts/run"), *words],
        "directory": os.fspath(run.files),
        "environment": {"XDG_CONFIG_HOME": os.fspath(run.settings)},
    }
    write_json(attempt.command, command, replace=True)


@contextmanager
def _checkout_in_use(place: Place) -> Iterator[list[int]]:
    """The lock of the checkout, which keeps others from replacing it (checkout.py), if it has one."""
    lock = place.checkout.parent / "lock"
    if not lock.exists():
        yield []
        return
    descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # whoever started us has it as well
        yield [descriptor]
    finally:
        os.close(descriptor)


def _start(attempt: Attempt, locks: Sequence[int]) -> None:
    module = python("guestloop.remote.there.supervisor")
    process = proc.detach([*module, attempt.directory, attempt.out], log=attempt.log, pass_fds=locks)

    def has_begun() -> bool | None:
        if attempt.begun.exists():
            return True
        if process.poll() is not None:
            said = "".join(f"\n  | {line}" for line in _last_lines(attempt.log))
            raise LabError(f"the supervisor of a run ended before it began{said}")
        return None

    wait_for("the supervisor of a run", has_begun, START_S, last_seen=lambda: f"pid {process.pid}")


def _last_lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-10:]


def interrupt(attempt: Attempt) -> None:
    """End it as by Ctrl-C: its guests end, and what was measured stays. It need not run any more."""
    with suppress(ProcessLookupError, FileNotFoundError):
        process = os.pidfd_open(attempt.pid())
        try:
            # Now that the process cannot be another one: it has the lock, if it is the one.
            if attempt.standing().state is State.RUNNING:
                signal.pidfd_send_signal(process, signal.SIGINT)
        finally:
            os.close(process)
