# SPDX-License-Identifier: GPL-2.0-or-later
"""The only place that starts processes.

``run`` is for a command that ends by itself, ``read`` for one whose output is data, ``spawn`` for one that
runs as long as a ``with`` body. All put the child in a process group of its own, so that a kill reaches
everything that it started. They register the group with a guard (guard.py), which kills it if this process
dies, even by ``kill -9``. ``detach`` is for the one that has to outlive this process. Of the environment a
child sees what surroundings.py lists, and what the caller adds.
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
from typing import IO, TypeVar

from guestloop.ground import surroundings
from guestloop.ground.errors import LabError, ProcessError, TimedOut
from guestloop.ground.wait import Deadline

logger = logging.getLogger("guestloop.proc")

KEPT_LINES = 400
TERM_GRACE_S = 5.0
UMASK = 0o022  # of commands: whoever started us must not decide about the modes in what they make
INSTALL_HINT = "scripts/run installs what is missing when it runs as root"

T = TypeVar("T")
Arg = str | os.PathLike[str]
Popen = subprocess.Popen[bytes]
STILL_RUNNING = subprocess.TimeoutExpired
PIPE, NULL = subprocess.PIPE, subprocess.DEVNULL


class _Guard:
    """The guard process that belongs to this process. It is started before the first child."""

    def __init__(self) -> None:
        self._process: Popen | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start it if it is not there: a child that was there before it could outlive us."""
        with self._lock:
            self._started()

    def tell(self, sign: str, what: object) -> None:
        """Register a process group (``+``) or a control group (``@``), or sign it off (``-``, ``!``)."""
        with self._lock:
            stdin = self._started().stdin
            assert stdin is not None
            # The interpreter may be shutting down, or the guard was killed. Nothing can be done then.
            with suppress(OSError, ValueError):
                stdin.write(f"{sign}{what}\n".encode())
                stdin.flush()

    def _started(self) -> Popen:
        if self._process is None or self._owner != os.getpid():
            program = [sys.executable, "-I", "-S", os.fspath(Path(__file__).with_name("guard.py"))]
            self._process = subprocess.Popen(
                program,
                env=surroundings.inherited(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._owner = os.getpid()
        return self._process


_guard = _Guard()


@dataclass(frozen=True)
class Finished:
    """A command that ended with status 0, or with any status under ``check=False``."""

    argv: tuple[str, ...]
    status: int
    output: str


@dataclass(frozen=True)
class Answer:
    """What a command has answered: all of its stdout, and apart from it the last 400 lines of its stderr."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """``stdout`` as UTF-8; bytes that are not are replaced."""
        return self.stdout.decode(errors="replace")

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def paste(argv: Sequence[Arg]) -> str:
    """Return the command in a form that can be pasted into a shell."""
    return shlex.join(os.fspath(arg) for arg in argv)


def find_program(name: str, *, hint: str = "") -> Path:
    """Return the path of a program. Raises LabError with its name if it is not installed."""
    found = _which(name)
    if found is None:
        raise LabError(f"program not found: {name}", hint=hint or INSTALL_HINT)
    return Path(found)


def has_program(name: str) -> bool:
    """Is a program installed, for what can do without?"""
    return _which(name) is not None


def _which(name: str) -> str | None:
    return shutil.which(name, path=surroundings.search_path())


def run(
    argv: Sequence[Arg],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    bare: bool = False,
    log: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    timeout_s: float | None = None,
    check: bool = True,
    hint: str = "",
) -> Finished:
    """Run a command until it ends. ``output`` has the last 400 lines of stdout and stderr together.

    That is for people and logs; ``read`` is for what is parsed. Its stdin is empty. ``env`` is added to
    the environment, ``bare`` leaves out of that what a build must not depend on (surroundings.bare).
    ``log`` receives the whole output, ``on_line`` each line as it arrives. Raises ProcessError if the status
    is not 0 and ``check`` is set, TimedOut after ``timeout_s``, and LabError if the program is missing.
    On any exception, Ctrl-C included, the process group is killed.
    """
    args = _arguments(argv)
    pipe = subprocess.PIPE
    with (
        spawn(args, cwd=cwd, env=env, bare=bare, stdout=pipe, quick=True, umask=UMASK) as process,
        _killed_after(process, timeout_s) as timed_out,
    ):
        output = _drain(process.stdout, log, on_line)
        status = process.wait()
    if timed_out.is_set():
        raise _timed_out(args, timeout_s, hint)
    if status != 0 and check:
        raise ProcessError(args, status, output, hint=hint)
    return Finished(args, status, output)


def read(
    argv: Sequence[Arg],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    bare: bool = False,
    given: bytes = b"",
    on_line: Callable[[str], None] | None = None,
    timeout_s: float | None = None,
    check: bool = True,
    hint: str = "",
) -> Answer:
    """Run a command for what it prints on stdout, which is kept apart from stderr.

    A warning, be it of the command or of the loader that starts it, is then no part of the data. ``given``
    is its stdin. With ``on_line`` each line of stdout is passed on as it arrives, and none is kept. Otherwise
    like ``run``; a ProcessError carries stderr.
    """
    args = _arguments(argv)
    pipe, stdin = subprocess.PIPE, subprocess.PIPE if given else subprocess.DEVNULL
    with (
        spawn(
            args,
            cwd=cwd,
            env=env,
            bare=bare,
            stdin=stdin,
            stdout=pipe,
            stderr=pipe,
            quick=True,
            umask=UMASK,
        ) as process,
        _killed_after(process, timeout_s) as timed_out,
    ):
        stdout, remarks = _converse(process, given, on_line)
        status = process.wait()
    if timed_out.is_set():
        raise _timed_out(args, timeout_s, hint)
    if status != 0 and check:
        raise ProcessError(args, status, remarks, hint=hint)
    return Answer(args, status, stdout, remarks)


def _arguments(argv: Sequence[Arg]) -> tuple[str, ...]:
    args = tuple(os.fspath(arg) for arg in argv)
    logger.debug("run: %s", paste(args))
    return args


def _timed_out(args: Sequence[str], timeout_s: float | None, hint: str) -> TimedOut:
    return TimedOut(f"{paste(args)}: still running after {timeout_s:g} s; killed", hint=hint)


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


def _drain(stream: IO[bytes] | None, log: Path | None, on_line: Callable[[str], None] | None) -> str:
    assert stream is not None
    kept: deque[str] = deque(maxlen=KEPT_LINES)
    sink: IO[bytes] | None = log.open("ab") if log else None
    try:
        for raw in stream:
            if sink:
                sink.write(raw)
            line = _line(raw)
            kept.append(line)
            if on_line:
                on_line(line)
    finally:
        if sink:
            sink.close()
    return "\n".join(kept)


def _line(raw: bytes) -> str:
    return raw.decode(errors="replace").rstrip("\n")


def _converse(process: Popen, given: bytes, on_line: Callable[[str], None] | None) -> tuple[bytes, str]:
    """All that a command says on stdout for ``given``, unless ``on_line`` gets it; and the end of stderr."""
    if on_line is None:
        stdout, stderr = process.communicate(given or None)  # no threads: they take longer than most of git
        return stdout, "\n".join(map(_line, stderr.removesuffix(b"\n").split(b"\n")[-KEPT_LINES:]))
    assert process.stdout is not None
    with (
        _beside(lambda: _feed(process.stdin, given)),
        _beside(lambda: _drain(process.stderr, None, None)) as remarks,
    ):
        for raw in process.stdout:
            on_line(_line(raw))
    return b"", remarks[0]


def _feed(stream: IO[bytes] | None, given: bytes) -> None:
    """A command need not read all that it is given."""
    if stream is not None:
        with suppress(BrokenPipeError), stream:
            stream.write(given)


@contextmanager
def _beside(work: Callable[[], T]) -> Iterator[list[T]]:
    """Do some work in a thread beside the body. Its result is in the list after the body."""
    done: list[T] = []
    thread = threading.Thread(target=lambda: done.append(work()), daemon=True)
    thread.start()
    yield done
    thread.join()


@contextmanager
def spawn(
    argv: Sequence[Arg],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    bare: bool = False,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] = subprocess.STDOUT,
    pass_fds: Sequence[int] = (),
    quick: bool = False,
    umask: int = -1,
) -> Iterator[Popen]:
    """Run a helper process in a process group of its own, and end it (TERM, then KILL) after the body.

    ``quick`` skips the TERM, for commands whose work is discarded on failure anyway. ``env`` and ``bare`` are
    those of ``run``, ``umask`` is that of this process unless another one is given.
    """
    args = [os.fspath(arg) for arg in argv]
    _guard.start()
    try:
        process = subprocess.Popen(
            args,
            cwd=cwd,
            env={**(surroundings.bare() if bare else surroundings.inherited()), **(env or {})},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            umask=umask,
            process_group=0,
            pass_fds=tuple(pass_fds),
        )
    except FileNotFoundError as error:
        if cwd and not cwd.is_dir():
            raise LabError(f"{args[0]}: no directory to run it in: {cwd}") from error
        raise LabError(f"program not found: {args[0]}", hint=INSTALL_HINT) from error
    except OSError as error:  # no permission, to enter ``cwd`` either; no program, no more processes
        raise LabError(f"{os.fspath(error.filename or args[0])}: {error.strerror}") from error
    _guard.tell("+", process.pid)
    try:
        yield process
    finally:
        end_group(process, 0.0 if quick else TERM_GRACE_S)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                with suppress(OSError):
                    stream.close()


def detach(argv: Sequence[Arg], *, log: Path, pass_fds: Sequence[int] = ()) -> Popen:
    """Start a process that goes on when this one ends: in a session of its own, and unknown to the guard.

    What it prints goes to the end of ``log``. Raises LabError if it cannot be started.
    """
    args = _arguments(argv)
    with log.open("ab") as output:
        try:
            return subprocess.Popen(
                args,
                env=surroundings.inherited(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=tuple(pass_fds),
            )
        except OSError as error:
            raise LabError(f"{error.filename or args[0]}: {error.strerror}") from error


def guard_cgroup(path: Path) -> None:
    """Have the guard end and remove this control group if this process dies; it need not exist yet."""
    _guard.tell("@", path)


def forget_cgroup(path: Path) -> None:
    """This process has removed the control group itself."""
    _guard.tell("!", path)


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
