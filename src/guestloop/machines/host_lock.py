# SPDX-License-Identifier: GPL-2.0-or-later
"""The host is borrowed by one run at a time that uses its KVM; runs on the emulator stay free.

The lock is flock(2) on a file, which the kernel lets go when the last process that has it open ends, however
it ends. The run has it, its lab and the QEMU of each L1. So it is taken as long as any of them lives, also
when the run was killed. The file says who holds it, for messages only: what is in it is believed as far as
such a process is there.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pwd
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from guestloop.ground import proc
from guestloop.ground.codec import decode, encode
from guestloop.ground.errors import LabError, TimedOut
from guestloop.ground.log import say
from guestloop.ground.wait import wait_for

LOCK = Path("/run/lock/guestloop-kvm.lock")
DIRECTORY_MODE, MODE = 0o1777, 0o666
LIMIT, SHOWN = 4096, 160
"""Of what is read of the file, and of a command that is shown: anybody may write into it."""
LOOK_S = 0.1


@dataclass(frozen=True)
class Holder:
    """The run that took the lock: its process and when that started in ticks, its command, user and time."""

    pid: int
    started: int
    command: str
    user: str
    since: str

    def __str__(self) -> str:
        """For messages. A process that is not there has left others that go on holding it."""
        gone = (
            "" if _started(self.pid) == self.started else ", which has ended; what it started is still there"
        )
        text = f"pid {self.pid} ({self.command[:SHOWN]}) of {self.user} since {self.since}{gone}"
        return "".join(letter if letter.isprintable() else "?" for letter in text)


@contextmanager
def borrowed(*, wait: bool, path: Path | None = None) -> Iterator[int]:
    """Hold the lock while the body runs, which is given the descriptor that others have to inherit.

    Raises LabError when somebody else holds it and ``wait`` is not set, or when it cannot be had at all.
    """
    path = path or LOCK
    descriptor = _open(path)
    try:
        if not _take(descriptor):
            if not wait:
                raise _taken(path, descriptor)
            say(f"==> waiting for this host: {_holder_of(path, descriptor)} measures with its KVM")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        _sign(path)
        yield descriptor
    finally:
        os.close(descriptor)


def refuse_if_taken(path: Path | None = None) -> None:
    """Raise LabError when somebody holds the lock now."""
    with borrowed(wait=False, path=path):
        pass


def find_holder(path: Path) -> str:
    """Who holds the lock, in words; empty when nobody does. Nothing is made, and nothing waits for this."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            # A shared lock, so that several that look do not see each other.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return _holder_of(path, descriptor)
        finally:
            os.close(descriptor)
    return ""


def _open(path: Path) -> int:
    """The file of the lock. Reading is enough to lock it, whoever has made it.

    It is opened before it is made: in a directory like /run/lock the kernel refuses to open a file of
    another user with O_CREAT (Documentation/admin-guide/sysctl/fs.rst: protected_regular).
    """
    try:
        with suppress(FileNotFoundError):
            return _open_as(path, os.O_RDONLY)
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
            path.parent.chmod(DIRECTORY_MODE)
        with suppress(FileExistsError):
            descriptor = _open_as(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL)
            os.fchmod(descriptor, MODE)
            return descriptor
        return _open_as(path, os.O_RDONLY)
    except OSError as error:
        what = "is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise LabError(
            f"{path}: the lock of this host cannot be opened: {what}",
            hint="it keeps two runs from measuring with the host's KVM at once",
        ) from error


def _open_as(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)


def _take(descriptor: int) -> bool:
    """Try for a moment: whoever looks for the holder, as the doctor does, has the lock for as long."""
    try:
        wait_for("the lock of this host", lambda: _try(descriptor) or None, LOOK_S, interval=0.01)
    except TimedOut:
        return False
    return True


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno != errno.EWOULDBLOCK:
            raise LabError(f"the lock of this host cannot be taken: {error.strerror}") from error
        return False
    return True


def _taken(path: Path, descriptor: int) -> LabError:
    return LabError(
        f"this host is in use: {_holder_of(path, descriptor)} measures with its KVM",
        hint="without --no-wait it is waited for; a run with --accel tcg needs no waiting",
    )


def _sign(path: Path) -> None:
    """Write who holds it. A file that somebody else has made otherwise stays without a name."""
    name = Path(sys.argv[0]).name
    command = proc.paste(["guestloop" if name == "cli.py" else name, *sys.argv[1:]])
    holder = Holder(
        os.getpid(), _started(os.getpid()), command, _user(), time.strftime("%Y-%m-%d %H:%M:%S %Z")
    )
    with suppress(OSError):
        descriptor = _open_as(path, os.O_WRONLY | os.O_TRUNC)
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps(encode(holder)) + "\n")


def _holder_of(path: Path, descriptor: int) -> str:
    """Who wrote its name last; another program that holds the lock, as flock(1), has none."""
    try:
        return str(decode(Holder, json.loads(os.pread(descriptor, LIMIT, 0))))
    except ValueError:
        return f"somebody who holds {path} and left no name"


def _started(pid: int) -> int:
    """When a process started, in ticks since boot (filesystems/proc.rst: stat); 0 if there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"
