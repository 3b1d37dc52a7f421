# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong, as one tree of exceptions, each with a kind that survives every boundary.

::

    GuestloopError                  base: message, hint, kind, traceback of the far side, exit status
     +-- ConfigError                wrong usage or configuration                         exit 2
     |    +-- NotApplied            a patch does not fit its base: the kernel cannot be made
     +-- LabError                   this machine, a build or a guest broke               exit 3
          +-- ProcessError          a command failed: argv, status, output
          +-- TimedOut              a deadline passed: what for, last thing seen
          +-- CacheError            the cache cannot be written (full disk, ...)
          +-- Lacking               this machine or kernel has no such feature: the cell is skipped
          +-- LinkLost              a connection between L0, the lab and an agent ended
          +-- NotBuilt              a kernel under test does not compile
          +-- NotBooted             an L1 did not come up as far as its agent
          +-- L1Ended               L1 is gone, and not because its kernel broke
          +-- L1Panicked            L1's kernel panicked: a finding about the kernel under test
          +-- L1Rebooted            L1 reset itself without being asked: a finding too
          +-- MachineFault          L1 died of a known fault of what runs it: no finding about its kernel
          +-- InternalError         code of guestloop raised what it should not have
          +-- GuestError            an L2 guest, or what is asked of it, broke
               +-- Refused          QEMU or the payload refused a request
               +-- Disconnected     QEMU closed its end of a socket; how it ended is not known yet
               +-- GuestCrashed     the guest panicked or reset itself: a finding about its memory
               +-- GuestKilled      a signal from outside ended its QEMU
               +-- GuestFailed      its QEMU ended with an error of its own
               +-- GuestStuck       it owes an answer, had the CPU time for it, and does nothing
               +-- MigrationFailed  a migration ended otherwise than it was meant to

Verdicts look at the kind, never at the message. ``describe`` and ``revive`` carry an error across a
process boundary as kind, message, hint and traceback.

The first line of a message stands alone: what, where, what was seen and what was wanted. The hint
says what to do about it.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from enum import IntEnum, StrEnum
from typing import ClassVar, Self


class Exit(IntEnum):
    """Exit status of ``scripts/run`` (contract, see README)."""

    OK = 0
    REGRESSION = 1
    USAGE = 2
    LAB = 3
    INCONCLUSIVE = 4
    INTERRUPTED = 130


class Kind(StrEnum):
    """What went wrong, as data. Stored in a round's record."""

    UNKNOWN = "unknown"
    CONFIG = "configuration"
    NOT_APPLIED = "not-applied"
    LAB = "lab"
    PROCESS = "process-failed"
    TIMED_OUT = "timed-out"
    CACHE = "cache"
    LACKING = "lacking"
    LINK_LOST = "link-lost"
    NOT_BUILT = "not-built"
    NOT_BOOTED = "not-booted"
    L1_ENDED = "l1-ended"
    L1_PANICKED = "l1-panicked"
    L1_REBOOTED = "l1-rebooted"
    MACHINE_FAULT = "machine-fault"
    INTERNAL = "internal"
    GUEST = "guest"
    REFUSED = "refused"
    DISCONNECTED = "disconnected"
    GUEST_CRASHED = "guest-crashed"
    GUEST_KILLED = "guest-killed"
    GUEST_FAILED = "guest-failed"
    GUEST_STUCK = "guest-stuck"
    MIGRATION_FAILED = "migration-failed"


class GuestloopError(Exception):
    """Base of everything guestloop raises on purpose.

    ``str()`` returns the message alone; ``hint`` is empty when there is nothing useful to say.
    ``traceback`` is that of the process in which the error was raised first, empty when it was this one.
    """

    kind: ClassVar[Kind] = Kind.UNKNOWN
    exit_status: ClassVar[Exit] = Exit.LAB

    def __init__(self, message: str, *, hint: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.hint, self.traceback = hint, traceback

    def render(self) -> str:
        """Message and hint as they are shown on a terminal."""
        return f"{self}\n  hint: {self.hint}" if self.hint else str(self)

    @property
    def first_line(self) -> str:
        """The line of the message that stands alone."""
        return str(self).partition("\n")[0]

    @classmethod
    def revived(cls, message: str, hint: str, trace: str) -> Self:
        """An error of this type that was raised in another process."""
        error = cls.__new__(cls)
        GuestloopError.__init__(error, message, hint=hint, traceback=trace)
        return error


class ConfigError(GuestloopError):
    """Wrong usage or configuration: names the file or option, what was seen and what is allowed."""

    kind = Kind.CONFIG
    exit_status = Exit.USAGE


class NotApplied(ConfigError):
    """A patch does not fit the base of its kernel: names the patch, the hunk and what stands there."""

    kind = Kind.NOT_APPLIED


class LabError(GuestloopError):
    """The machine, a build or a guest broke; says nothing about the kernels under test."""

    kind = Kind.LAB


class ProcessError(LabError):
    """A command failed.

    ``argv`` can be pasted into a shell after quoting, ``status`` is the exit status (negative: the
    signal that ended it), ``output`` the end of what it printed.
    """

    kind = Kind.PROCESS
    argv: tuple[str, ...] = ()
    status: int = 0
    output: str = ""

    def __init__(self, argv: Sequence[str], status: int, output: str, *, hint: str = "") -> None:
        self.argv, self.status, self.output = tuple(argv), status, output
        tail = "\n".join(f"  | {line}" for line in output.strip().splitlines()[-12:])
        super().__init__(f"{argv[0]}: {describe_status(status)}" + (f"\n{tail}" if tail else ""), hint=hint)


def describe_status(status: int) -> str:
    """How a process ended: ``exit status 3``, or ``killed by signal 9`` for a status of -9."""
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


class TimedOut(LabError):
    """A wait reached its deadline; the message says what for and the last thing seen."""

    kind = Kind.TIMED_OUT


class CacheError(LabError):
    """The cache directory cannot be used."""

    kind = Kind.CACHE


class Lacking(LabError):
    """This machine or kernel lacks something that the cell needs: it is skipped, with the reason."""

    kind = Kind.LACKING


class LinkLost(LabError):
    """The connection to the lab, or to the agent in an L1, ended."""

    kind = Kind.LINK_LOST


class NotBuilt(LabError):
    """A kernel under test does not compile or link; has the compiler's first error with its lines."""

    kind = Kind.NOT_BUILT


class NotBooted(LabError):
    """An L1 did not boot as far as its agent, or not the kernel that was built; no guest ran on it."""

    kind = Kind.NOT_BOOTED


class L1Ended(LabError):
    """The QEMU of an L1 is gone: killed, or ended with an error of its own."""

    kind = Kind.L1_ENDED


class L1Panicked(LabError):
    """The kernel of an L1, which is the one under test, panicked or oopsed."""

    kind = Kind.L1_PANICKED


class L1Rebooted(LabError):
    """An L1 reset itself without being asked, which is how a triple fault ends."""

    kind = Kind.L1_REBOOTED


class MachineFault(LabError):
    """An L1 died of a known fault of the machine that runs it, see machines/kind.py."""

    kind = Kind.MACHINE_FAULT


class InternalError(LabError):
    """A fault of guestloop: a process on the other side of a boundary raised what it should not have."""

    kind = Kind.INTERNAL


class GuestError(LabError):
    """An L2 guest, or something that was asked of it, broke."""

    kind = Kind.GUEST


class Refused(GuestError):
    """QEMU or the payload refused a request; both go on."""

    kind = Kind.REFUSED


class Disconnected(GuestError):
    """QEMU closed its end of a socket. Whoever knows its process says how it ended."""

    kind = Kind.DISCONNECTED


class GuestCrashed(GuestError):
    """The guest's kernel panicked, or reset the machine unasked: how a guest with damaged memory ends."""

    kind = Kind.GUEST_CRASHED


class GuestKilled(GuestError):
    """The guest's QEMU was ended by a signal: the OOM killer, a SIGBUS, somebody's kill."""

    kind = Kind.GUEST_KILLED


class GuestFailed(GuestError):
    """The guest's QEMU ended with an error status, or did not start."""

    kind = Kind.GUEST_FAILED


class GuestStuck(GuestError):
    """A vCPU owes an answer, L1 had the CPU time to produce it, and nothing that serves the load moves."""

    kind = Kind.GUEST_STUCK


class MigrationFailed(GuestError):
    """A migration did not get to where it was meant to, and both its QEMUs are alive."""

    kind = Kind.MIGRATION_FAILED


def _tree(base: type[GuestloopError]) -> list[type[GuestloopError]]:
    return [base, *(below for child in base.__subclasses__() for below in _tree(child))]


_BY_KIND = {error.kind: error for error in _tree(GuestloopError)}


def describe(error: Exception) -> dict[str, str]:
    """An error as data: kind, message, hint and the traceback where it was raised first."""
    if isinstance(error, GuestloopError):
        trace = error.traceback or _trace(error)
        return {"kind": error.kind, "message": str(error), "hint": error.hint, "traceback": trace}
    message = f"{type(error).__name__}: {error}"
    return {"kind": Kind.INTERNAL, "message": message, "hint": "", "traceback": _trace(error)}


def revive(data: Mapping[str, str]) -> GuestloopError:
    """The error that ``describe`` described, of the same type."""
    kind = _BY_KIND.get(Kind(data["kind"]), InternalError)
    return kind.revived(data["message"], data["hint"], data["traceback"])


def _trace(error: Exception) -> str:
    return "".join(traceback.format_exception(error))
