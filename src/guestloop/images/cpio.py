# SPDX-License-Identifier: GPL-2.0-or-later
"""Archives in cpio's "newc" format, which the kernel unpacks.

The format is described in ``Documentation/driver-api/early-userspace/buffer-format.rst`` of the kernel.
Equal members result in equal bytes.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

MAGIC = "070701"
END = "TRAILER!!!"
ALIGNMENT = 4


@dataclass(frozen=True)
class Member:
    """One member of an archive, owned by root.

    ``mode`` is a full ``st_mode``, file type included. ``device`` is (major, minor) of a device node.
    Time stamps are 0.
    """

    name: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(name: str) -> Member:
    """Make a directory that everyone may read."""
    return Member(name, stat.S_IFDIR | 0o755)


def program(name: str, content: bytes) -> Member:
    """Make a file that everyone may execute."""
    return Member(name, stat.S_IFREG | 0o755, content)


def character_device(name: str, major: int, minor: int) -> Member:
    """Make a character device node that only root may use."""
    return Member(name, stat.S_IFCHR | 0o600, device=(major, minor))


def archive(members: Iterable[Member]) -> bytes:
    """Return the whole archive, with its trailer."""
    parts = [_encode(number, member) for number, member in enumerate(members, start=1)]
    return b"".join([*parts, _encode(0, Member(END, 0))])


def _encode(inode: int, member: Member) -> bytes:
    name = member.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(member.mode) else 1
    fields = (
        inode,
        member.mode,
        0,  # user
        0,  # group
        links,
        0,  # time of last change
        len(member.content),
        0,  # device that holds the file: major
        0,  # and minor
        *member.device,
        len(name),
        0,  # checksum: not in this format
    )
    header = (MAGIC + "".join(f"{field:08x}" for field in fields)).encode()
    return _padded(header + name) + _padded(member.content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % ALIGNMENT)
