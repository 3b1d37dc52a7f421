# SPDX-License-Identifier: GPL-2.0-or-later
"""RAM files compared, and links cut: on real files and real sockets."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from guestloop.agent import faults, ram
from guestloop.agent.faults import Fault
from guestloop.agent.guest import Guest
from guestloop.agent.ram import PIECE, REPORTED_PAGES, Compared
from guestloop.ground.errors import GuestError
from guestloop.ground.units import PAGE

SOON_S = 5.0

# --- RAM -------------------------------------------------------------------------------------------


def ram_file(path: Path, size: int, changes: dict[int, bytes] | None = None) -> Path:
    """A sparse file, as QEMU leaves one, with a few bytes written."""
    with path.open("wb") as file:
        file.truncate(size)
        for offset, content in (changes or {}).items():
            file.seek(offset)
            file.write(content)
    return path


def test_equal_files_and_a_hole_is_as_good_as_zeros(tmp_path: Path) -> None:
    size = 2 * PIECE + 3 * PAGE
    ours = ram_file(tmp_path / "a", size, {PIECE: b"x" * PAGE})
    theirs = ram_file(tmp_path / "b", size, {PIECE: b"x" * PAGE, 0: bytes(PAGE)})
    assert ram.compare(ours, theirs) == Compared(size // PAGE, [], [])


@pytest.mark.parametrize(
    "offsets",
    [
        [0],
        [PAGE - 1],
        [PIECE - 1, PIECE],  # the last byte of a piece and the first of the next
        [PAGE, PAGE + 1, 3 * PAGE],  # two bytes of one page are one page
        [2 * PIECE + 3 * PAGE - 1],  # the last byte of all, in a piece that is not whole
    ],
)
def test_a_byte_makes_a_page_differ(tmp_path: Path, offsets: list[int]) -> None:
    size = 2 * PIECE + 3 * PAGE
    ours = ram_file(tmp_path / "a", size)
    theirs = ram_file(tmp_path / "b", size, dict.fromkeys(offsets, b"\1"))
    found = ram.compare(ours, theirs)
    assert found.differing == sorted({offset // PAGE for offset in offsets})
    assert found.compared == size // PAGE
    for page, contents in zip(found.differing, found.contents, strict=True):
        source, destination = (b64decode(content) for content in contents)
        assert source == bytes(PAGE)
        assert [page * PAGE + at for at in range(PAGE) if destination[at]] == [
            offset for offset in offsets if offset // PAGE == page
        ]


def test_all_pages_are_counted_and_some_are_told(tmp_path: Path) -> None:
    ours = ram_file(tmp_path / "a", PIECE)
    theirs = ram_file(
        tmp_path / "b", PIECE, {page * PAGE: b"\1" for page in range(10, 10 + REPORTED_PAGES + 5)}
    )
    found = ram.compare(ours, theirs)
    assert found.differing == list(range(10, 10 + REPORTED_PAGES + 5))
    assert len(found.contents) == REPORTED_PAGES


def test_files_of_two_sizes_are_not_compared(tmp_path: Path) -> None:
    ours, theirs = ram_file(tmp_path / "a", 2 * PAGE), ram_file(tmp_path / "b", PAGE)
    with pytest.raises(GuestError, match="RAM files of 8192 and 4096 bytes cannot be compared"):
        ram.compare(ours, theirs)


# --- links -----------------------------------------------------------------------------------------

# As the kernel prints it (unix_seq_show() of net/unix/af_unix.c): a listener, two connections that it
# accepted, one that waits to be, and sockets that have nothing to do with it.
TABLE = """\
Num       RefCount Protocol Flags    Type St Inode Path
000000000fc164ed: 00000003 00000000 00000000 0001 03  1143
00000000569803c5: 00000002 00000000 00010000 0001 01 20001 /run/guestloop/migration.sock
00000000a1c0ffee: 00000003 00000000 00000000 0001 03 20002 /run/guestloop/migration.sock
00000000a1c0ffef: 00000003 00000000 00000000 0001 02     0 /run/guestloop/migration.sock
00000000a1c0fff0: 00000003 00000000 00000000 0001 03 20003 /run/guestloop/migration.sock
00000000a1c0fff1: 00000003 00000000 00000000 0001 03 20004 /run/guestloop/migration.sock.old
00000000a1c0fff2: 00000002 00000000 00000000 0002 01 20005 @/run/guestloop/migration.sock
00000000a1c0fff3: 00000003 00000000 00000000 0001 03  20006
"""


def test_accepted_connections_in_the_kernels_table() -> None:
    assert faults.connected_inodes(TABLE, "/run/guestloop/migration.sock") == {"20002", "20003"}
    assert faults.connected_inodes(TABLE, "/run/guestloop") == set()


class Link:
    """A listening socket and what was connected to it; the near ends are of this process."""

    def __init__(self, path: Path) -> None:
        self.path, self.stack = path, ExitStack()
        self._listener = self.own(socket.socket(socket.AF_UNIX))
        self._listener.bind(str(path))
        self._listener.listen()

    def own(self, end: socket.socket) -> socket.socket:
        end.settimeout(SOON_S)  # a link that is not cut fails a test and does not hang it
        return self.stack.enter_context(closing(end))

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """The source's end and the destination's."""
        source = self.own(socket.socket(socket.AF_UNIX))
        source.connect(str(self.path))
        return source, self.own(self._listener.accept()[0])


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Link]:
    link = Link(tmp_path / "m.sock")
    with link.stack:
        yield link


def can_borrow() -> bool:
    """Whether a process may have another's descriptors here, found out without the code under test."""
    pidfd = os.pidfd_open(os.getpid())
    descriptor = ctypes.CDLL(None).syscall(438, pidfd, pidfd, 0)
    os.close(pidfd)
    if descriptor >= 0:
        os.close(descriptor)
    return bool(descriptor >= 0)


needs_borrowing = pytest.mark.skipif(not can_borrow(), reason="pidfd_getfd is not allowed here")


def test_connections_are_those_of_the_path_and_the_process(link: Link, tmp_path: Path) -> None:
    assert faults.connections(os.getpid(), link.path) == [], "a listener is none"
    other = Link(tmp_path / "m.sock.other")
    with other.stack:
        other.connect()
        ends = [link.connect()[1] for _ in range(2)]
        assert sorted(faults.connections(os.getpid(), link.path)) == sorted(end.fileno() for end in ends)
        assert faults.connections(os.getppid(), link.path) == []
    ends[0].close()
    assert faults.connections(os.getpid(), link.path) == [ends[1].fileno()]


@needs_borrowing
def test_a_cut_link_is_at_its_end_on_both_sides(link: Link, tmp_path: Path) -> None:
    pairs = [link.connect() for _ in range(2)]
    bystander = Link(tmp_path / "other.sock")
    with bystander.stack:
        near, far = bystander.connect()
        descriptors = set(Path("/proc/self/fd").iterdir())
        assert faults.cut_connections(os.getpid(), link.path) == 2
        # Other tests' descriptors may be collected meanwhile, but none may be added.
        assert not set(Path("/proc/self/fd").iterdir()) - descriptors, "what was borrowed is given back"
        assert [end.recv(1) for pair in pairs for end in pair] == [b""] * 4
        near.sendall(b"still here")
        assert far.recv(16) == b"still here"
    with pytest.raises(BrokenPipeError):
        pairs[0][0].sendall(b"x")


@needs_borrowing
def test_another_processs_link_is_cut(link: Link) -> None:
    """``cat`` reads from its end of the link until that is cut."""
    source, destination = link.connect()
    destination.setblocking(True)  # is of the connection, which cat gets
    with subprocess.Popen(["cat"], stdin=destination.fileno(), stdout=subprocess.DEVNULL) as process:
        try:
            destination.close()
            assert faults.connections(process.pid, link.path) == [0]
            assert process.poll() is None
            assert faults.cut_connections(process.pid, link.path) == 1
            assert process.wait(SOON_S) == 0
        finally:
            process.kill()
    assert source.recv(1) == b""


def test_nothing_to_cut(tmp_path: Path) -> None:
    assert faults.cut_connections(os.getpid(), tmp_path / "none.sock") == 0


def test_a_descriptor_that_is_not_there_cannot_be_borrowed() -> None:
    pidfd = os.pidfd_open(os.getpid())
    try:
        with pytest.raises(GuestError, match=r"pidfd_getfd: \w"):
            faults._borrow(pidfd, 1 << 20)
    finally:
        os.close(pidfd)


# --- faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        (Fault.KILL_SOURCE, ["source killed"]),
        (Fault.KILL_DESTINATION, ["destination killed"]),
        (Fault.PANIC, ["source told crash"]),
        (Fault.CUT_LINK, ["link of 22 cut at /m.sock"]),
    ],
)
def test_each_fault_strikes_where_it_should(
    fault: Fault, wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def guest(role: str, pid: int) -> Any:
        process = SimpleNamespace(pid=pid, kill=lambda: done.append(f"{role} killed"))
        return cast(
            Guest, SimpleNamespace(process=process, send=lambda line: done.append(f"{role} told {line}"))
        )

    monkeypatch.setattr(
        faults, "cut_connections", lambda pid, path: done.append(f"link of {pid} cut at {path}")
    )
    faults.inflict(fault, guest("source", 11), guest("destination", 22), Path("/m.sock"))
    assert done == wanted
