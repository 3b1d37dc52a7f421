# SPDX-License-Identifier: GPL-2.0-or-later
"""Python processes of guestloop, made independent of who starts them, and where.

``settle`` is for the process of a command; ``python`` says how it starts another one. Both take text for
UTF-8 whatever the locale (Python's UTF-8 mode), so ``open`` and ``read_text`` need not name an encoding.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TextIO

SOURCE = Path(__file__).resolve().parents[2]
"""The directory that the running package was imported from."""

FLAGS = ("-I", "-X", "utf8")
"""Of the interpreter. Isolated: nothing is imported from the current folder, PYTHONPATH or the user's own."""

# Isolated Python would find the package that is installed, which need not be the one that runs.
_BOOT = """\
import runpy, sys
sys.path.insert(0, sys.argv[1])
module = sys.argv[2]
del sys.argv[1:3]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""

OPEN_FILES = 1024
"""A run needs some hundred: sockets, pipes and logs of each L1."""


def python(module: str) -> list[str]:
    """The command that runs a module of this package in another Python; arguments may follow."""
    return [sys.executable, *FLAGS, "-c", _BOOT, os.fspath(SOURCE), module]


def settle() -> None:
    """Undo what a process inherits and what would change how it works. To be called before anything else."""
    _open_streams()
    _reset_signals()
    # Whatever else it says, files that others could write to would let them decide about a verdict.
    os.umask(os.umask(0o022) | 0o022)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _open_streams() -> None:
    """A stream that was closed would be the next file that is opened, and be written into by any command."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout, sys.stderr = _output(sys.stdout, 1), _output(sys.stderr, 2)


def _output(stream: TextIO | None, descriptor: int) -> TextIO:
    buffer = stream.buffer if stream else open(descriptor, "wb", closefd=False)  # noqa: SIM115
    return OutputStream(buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)


class OutputStream(io.TextIOWrapper):
    """Goes on when nobody reads any more (``scripts/run --list | head -1``): results are in files too.

    What cannot be written to stderr is no reason to end at all.
    """

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._go_on_after(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._go_on_after(error)
            super().flush()

    def _go_on_after(self, error: OSError) -> None:
        """From now on everything goes to /dev/null, what waits in the buffer too."""
        if not isinstance(error, BrokenPipeError) and self.fileno() != 2:
            raise OSError(error.errno, error.strerror, "standard output") from error
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


def _reset_signals() -> None:
    """With SIGCHLD ignored, as daemons leave it, no status of a child could be read: all would look well."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
