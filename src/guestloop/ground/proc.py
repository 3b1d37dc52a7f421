# SPDX-License-Identifier: GPL-2.0-or-later
"""The only place that starts processes.

``run`` is for a command that ends by itself, ``spawn`` for one that runs as long as a ``with`` body.
Both put the child in a process group of its own, so that a kill reaches everything that it started. They
register the group with a guard (guard.py), which kills it if this process dies, even by ``kill -9``.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from guestloop.ground.errors import LabError, ProcessError, TimedOut
from guestloop.ground.wait import Deadline

logger = logging.getLogger("guestloop.proc")

KEPT_LINES = 400
TERM_GRACE_S = 5.0
INSTALL_HINT = "scripts/run installs what is missing when it runs as root"

Arg = str | os.PathLike[str]
Popen = subprocess.Popen[bytes]
STILL_RUNNING = subprocess.TimeoutExpired


class _Guard:
    """The guard process that belongs to this process. It is started with the first child."""

    def __init__(self) -> None:
        self._process: Popen | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def tell(self, sign: str, pid: int) -> None:
        with self._lock:
            if self._process is None or self._owner != os.getpid():
                program = [sys.executable, "-I", "-S", os.fspath(Path(__file__).with_name("guard.py"))]
                self._process = subprocess.Popen(
                    program, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
                )
                self._owner = os.getpid()
            assert self._process.stdin is not None
            # The interpreter may be shutting down, or the guard was killed. Nothing can be done then.
            with suppress(OSError, ValueError):
                self._process.stdin.write(f"{sign}{pid}\n".encode())
                self._process.stdin.flush()


_guard = _Guard()


@dataclass(frozen=True)
class Finished:
    """A command that ended with status 0, or with any status under ``check=False``."""

    argv: tuple[str, ...]
    status: int
    output: str


def paste(argv: Sequence[Arg]) -> str:
    """Return the command in a form that can be pasted into a shell."""
    return shlex.join(os.fspath(arg) for arg in argv)


def find_program(name: str, *, hint: str = "") -> Path:
    """Return the path of a program. Raises LabError with its name if it is not installed."""
    found = shutil.which(name)
    if found is None:
        raise LabError(f"program not found: {name}", hint=hint or INSTALL_HINT)
    return Path(found)


def run(
    argv: Sequence[Arg],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    timeout_s: float | None = None,
    check: bool = True,
    hint: str = "",
) -> Finished:
    """Run a command until it ends. ``output`` has the last 400 lines of stdout and stderr together.

    Its stdin is empty. ``env`` is added to the environment. ``log`` receives the whole output,
    ``on_line`` each line as it arrives. Raises ProcessError if the status is not 0 and
    ``check`` is set, TimedOut after ``timeout_s``, and LabError if the program is missing. On any
    exception, Ctrl-C included, the process group is killed.
    """
    args = tuple(os.fspath(arg) for arg in argv)
    logger.debug("run: %s", paste(args))
    with (
        spawn(args, cwd=cwd, env=env, stdout=subprocess.PIPE, quick=True) as process,
        _killed_after(process, timeout_s) as timed_out,
    ):
        output = _drain(process, log, on_line)
        status = process.wait()
    if timed_out.is_set():
        raise TimedOut(f"{paste(args)}: still running after {timeout_s:g} s; killed", hint=hint)
    if status != 0 and check:
        raise ProcessError(args, status, output, hint=hint)
    return Finished(args, status, output)


@contextmanager
def _killed_after(process: Popen, timeout_s: float | None) -> Iterator[threading.Event]:
    """Kill the process when the body lasts longer; the event says that it was."""
    expired, done = threading.Event(), threading.Event()

    def watch(deadline: Deadline) -> None:
        while not done.wait(deadline.step):
            if deadline.passed:
                expired.set()
                kill_group(process, signal.SIGKILL)
                return

    if timeout_s is not None:
        threading.Thread(target=watch, args=(Deadline(timeout_s),), daemon=True).start()
    try:
        yield expired
    finally:
        done.set()


def _drain(process: Popen, log: Path | None, on_line: Callable[[str], None] | None) -> str:
    assert process.stdout is not None
    kept: deque[str] = deque(maxlen=KEPT_LINES)
    sink: IO[bytes] | None = log.open("ab") if log else None
    try:
        for raw in process.stdout:
            if sink:
                sink.write(raw)
            line = raw.decode(errors="replace").rstrip("\n")
            kept.append(line)
            if on_line:
                on_line(line)
    finally:
        if sink:
            sink.close()
    return "\n".join(kept)


@contextmanager
def spawn(
    argv: Sequence[Arg],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
    quick: bool = False,
) -> Iterator[Popen]:
    """Run a helper process in a process group of its own, and end it (TERM, then KILL) after the body.

    ``quick`` skips the TERM, for commands whose work is discarded on failure anyway.
    """
    args = [os.fspath(arg) for arg in argv]
    try:
        process = subprocess.Popen(
            args,
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            process_group=0,
            pass_fds=tuple(pass_fds),
        )
    except FileNotFoundError as error:
        raise LabError(f"program not found: {args[0]}", hint=INSTALL_HINT) from error
    except PermissionError as error:
        raise LabError(f"{args[0]}: {error.strerror}") from error
    _guard.tell("+", process.pid)
    try:
        yield process
    finally:
        end_group(process, 0.0 if quick else TERM_GRACE_S)
        if process.stdout:
            with suppress(OSError):
                process.stdout.close()


def kill_group(process: Popen, number: signal.Signals) -> None:
    """Send a signal to all processes of a group. It is not an error if the group is gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def end_group(process: Popen, grace_s: float = TERM_GRACE_S) -> None:
    """Stop a process group: TERM, up to ``grace_s`` seconds of grace (0: no TERM), KILL, then reap."""
    if process.poll() is None and grace_s:
        kill_group(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    # The leader may have ended while a grandchild runs on, so the group is killed in any case.
    kill_group(process, signal.SIGKILL)
    process.wait()
    _guard.tell("-", process.pid)
