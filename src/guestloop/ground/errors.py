"""What can go wrong, as one tree of exceptions.

::

    GuestloopError            base: a message, a hint, the exit status it leads to
     +-- ConfigError          wrong usage or configuration                  exit 2
     +-- LabError             this machine, a build or a guest broke        exit 3
          +-- ProcessError    a command failed: argv, status, output
          +-- TimeoutError_   a deadline passed: what for, last thing seen
          +-- CacheError      the cache cannot be written (full disk, ...)
          +-- GuestError      an L1 or L2 guest broke (panic, death, agent)

The first line of a message stands alone: what, where, what was seen and what was wanted. The hint
says what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class Exit(IntEnum):
    """Exit status of ``scripts/run`` (contract, see README)."""

    OK = 0
    REGRESSION = 1
    USAGE = 2
    LAB = 3
    INCONCLUSIVE = 4
    INTERRUPTED = 130


class GuestloopError(Exception):
    """Base of everything guestloop raises on purpose.

    ``str()`` gives the message alone; ``hint`` is empty when there is nothing useful to say.
    """

    exit_status = Exit.LAB

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def render(self) -> str:
        """Message and hint as they are shown on a terminal."""
        return f"{self}\n  hint: {self.hint}" if self.hint else str(self)


class ConfigError(GuestloopError):
    """Wrong usage or configuration: names the file or option, what was seen and what is allowed."""

    exit_status = Exit.USAGE


class LabError(GuestloopError):
    """The machine, a build or a guest broke; says nothing about the kernels under test."""


class ProcessError(LabError):
    """A command failed.

    ``argv`` can be pasted into a shell after quoting, ``status`` is the exit status (negative: the
    signal that ended it), ``output`` the end of what it printed.
    """

    def __init__(self, argv: Sequence[str], status: int, output: str, *, hint: str = "") -> None:
        self.argv, self.status, self.output = tuple(argv), status, output
        ended = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        tail = "\n".join(f"  | {line}" for line in output.strip().splitlines()[-12:])
        super().__init__(f"{argv[0]}: {ended}" + (f"\n{tail}" if tail else ""), hint=hint)


class TimeoutError_(LabError):
    """A wait reached its deadline; the message says what for and the last thing seen."""


class CacheError(LabError):
    """The cache directory cannot be used."""


class GuestError(LabError):
    """An L1 or L2 guest broke: it panicked, died, or its agent raised.

    ``traceback`` is the agent's, empty when the fault was seen from L0.
    """

    def __init__(self, message: str, *, hint: str = "", traceback: str = "") -> None:
        super().__init__(message, hint=hint)
        self.traceback = traceback
