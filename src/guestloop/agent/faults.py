# SPDX-License-Identifier: GPL-2.0-or-later
"""Break a migration on purpose: a lost link, a dead QEMU, a guest that panics, a tmpfs that is too small."""

from __future__ import annotations

import ctypes
import os
import socket
from contextlib import closing
from enum import StrEnum
from pathlib import Path

from guestloop.agent.guest import Guest
from guestloop.ground.errors import GuestError

SYS_PIDFD_GETFD = 438
CONNECTED = "03"  # /proc/net/unix: SS_CONNECTED of include/uapi/linux/net.h

_libc = ctypes.CDLL(None, use_errno=True)


class Fault(StrEnum):
    """What can befall a migration."""

    CUT_LINK = "cut-link"
    KILL_SOURCE = "kill-source"
    KILL_DESTINATION = "kill-destination"
    PANIC = "panic"


def inflict(fault: Fault, source: Guest, destination: Guest, path: Path) -> None:
    """Do it now; ``path`` is that of the migration's socket."""
    match fault:
        case Fault.CUT_LINK:
            cut_connections(destination.process.pid, path)
        case Fault.KILL_SOURCE:
            source.process.kill()
        case Fault.KILL_DESTINATION:
            destination.process.kill()
        case Fault.PANIC:
            source.send("crash")


def connections(pid: int, path: Path) -> list[int]:
    """Descriptors of a process that are accepted connections to a Unix socket."""
    inodes = connected_inodes(Path("/proc/net/unix").read_text(), str(path))
    return [int(link.name) for link in Path(f"/proc/{pid}/fd").iterdir() if _inode(link) in inodes]


def cut_connections(pid: int, path: Path) -> int:
    """Shut down a process's connections to a Unix socket, seen from both ends as a lost link.

    Gives how many there were.
    """
    found = connections(pid, path)
    pidfd = os.pidfd_open(pid)
    try:
        for descriptor in found:
            with closing(_borrow(pidfd, descriptor)) as connection:
                connection.shutdown(socket.SHUT_RDWR)
    finally:
        os.close(pidfd)
    return len(found)


def connected_inodes(table: str, path: str) -> set[str]:
    """In the text of /proc/net/unix: inodes of accepted connections to a socket's path."""
    rows = (line.split() for line in table.splitlines()[1:])
    return {row[6] for row in rows if len(row) == 8 and row[7] == path and row[5] == CONNECTED}


def _inode(link: Path) -> str:
    try:
        return str(link.readlink()).removeprefix("socket:[").removesuffix("]")
    except FileNotFoundError:
        return ""  # closed since the directory was read


def _borrow(pidfd: int, descriptor: int) -> socket.socket:
    """Another process's socket as one of ours (pidfd_getfd)."""
    ours = _libc.syscall(SYS_PIDFD_GETFD, pidfd, descriptor, 0)
    if ours < 0:
        raise GuestError(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
    return socket.socket(fileno=ours)


def mount_tmpfs(path: Path, mib: int) -> None:
    """A tmpfs of this size at ``path``; one that is there already is replaced."""
    path.mkdir(parents=True, exist_ok=True)
    _libc.umount2(os.fsencode(path), 0)
    if _libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", 0, f"size={mib}M".encode()) != 0:
        raise GuestError(f"cannot mount a tmpfs on {path}: {os.strerror(ctypes.get_errno())}")
