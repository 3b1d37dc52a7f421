# SPDX-License-Identifier: GPL-2.0-or-later
"""What the two ends of --host say to each other, and names and directories that go between them."""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from guestloop.ground.errors import ConfigError, LabError, ProcessError
from guestloop.remote.names import within
from guestloop.remote.packing import pack, unpack
from guestloop.remote.wire import LONGEST, READY, Broken, Kind, Wire


class Pipe:
    """One direction: what was written comes out in pieces of any size, and nothing comes after its end."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._chance = random.Random(7)

    def write(self, data: bytes) -> None:
        self.data += data

    def read(self, size: int) -> bytes:
        taken = self._chance.randint(1, size)
        piece = bytes(self.data[:taken])
        del self.data[:taken]
        return piece


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


@pytest.fixture
def wire(pipe: Pipe) -> Wire:
    """Its own other end."""
    return Wire(pipe.read, pipe.write)


def pieces(size: int) -> Iterator[bytes]:
    chance = random.Random(1)
    while size > 0:
        yield chance.randbytes(min(size, 9000))
        size -= 9000


def test_values_and_streams_come_as_they_were_sent(wire: Wire) -> None:
    wire.send({"want": ["kernel", "0123"]})
    assert wire.send_stream(pieces(100_000)) == 100_000
    wire.send_stream([])
    wire.send(None)
    assert wire.receive() == {"want": ["kernel", "0123"]}
    assert b"".join(wire.receive_stream()) == b"".join(pieces(100_000))
    assert list(wire.receive_stream()) == []
    assert wire.receive() is None


def test_what_a_shell_prints_first_is_skipped(pipe: Pipe, wire: Wire) -> None:
    pipe.write(b"Welcome to lab 3!\nguestloop-there\n" + READY)
    wire.send(1)
    wire.skip_preamble()
    assert wire.receive() == 1


def test_a_shell_that_prints_without_end_is_given_up(pipe: Pipe, wire: Wire) -> None:
    pipe.write(b"y\n" * 50_000)
    with pytest.raises(LabError, match="prints without end"):
        wire.skip_preamble()


def test_an_error_is_raised_as_it_was(wire: Wire) -> None:
    wire.send_error(ConfigError("there is no run 1", hint="start one"))
    with pytest.raises(ConfigError, match="there is no run 1") as caught:
        wire.receive()
    assert caught.value.hint == "start one"


@pytest.mark.parametrize("kept", [0, 3, 5, 700, -1])
def test_a_stream_that_breaks_off_is_not_taken_for_whole(pipe: Pipe, wire: Wire, kept: int) -> None:
    wire.send_stream(pieces(20_000))
    del pipe.data[kept:]
    with pytest.raises(Broken):
        list(wire.receive_stream())


def test_a_stream_that_is_not_what_was_sent(pipe: Pipe, wire: Wire) -> None:
    wire.send_stream([b"results"])
    pipe.data[-1] ^= 1
    with pytest.raises(LabError, match="SHA-256 differs"):
        list(wire.receive_stream())


def test_an_error_in_a_stream_is_raised(wire: Wire) -> None:
    wire.send_frame(Kind.PIECE, b"")
    wire.send_error(LabError("the disk broke"))
    with pytest.raises(LabError, match="the disk broke"):
        list(wire.receive_stream())


def test_what_is_no_frame_is_refused(pipe: Pipe, wire: Wire) -> None:
    pipe.write(b"-bash: scripts/there: No such file")
    with pytest.raises(LabError, match="another language"):
        wire.receive()


def test_a_frame_without_measure_is_refused(pipe: Pipe, wire: Wire) -> None:
    pipe.write(b"J" + (LONGEST + 1).to_bytes(4, "big"))
    with pytest.raises(LabError, match="a frame of"):
        wire.receive()


def test_the_last_error_is_found_behind_other_things(wire: Wire) -> None:
    wire.send({"want": ["kernel", "1"]})
    wire.send_frame(Kind.LOG, b"...")
    wire.send_error(LabError("no space left"))
    with pytest.raises(LabError, match="no space left"):
        wire.drain()
    with pytest.raises(Broken):
        wire.drain()


# --- names ---


@pytest.mark.parametrize("name", ["", "/etc/passwd", "..", "a/../../b", "rounds/..", "link/b", "a\0b"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to("/tmp")
    with pytest.raises(LabError, match="from the other end"):
        within(tmp_path, name)


def test_a_name_may_be_that_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to("job-1")
    assert within(tmp_path, "latest") == tmp_path / "latest"
    assert within(tmp_path, "rounds/..x/1.json") == tmp_path / "rounds/..x/1.json"


# --- directories ---


def test_a_directory_comes_out_as_it_went_in(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "sub").mkdir(parents=True)
    (here / "key").write_bytes(b"secret")
    (here / "key").chmod(0o600)
    (here / "sub/link").symlink_to("../key")
    with (here / "disk").open("wb") as disk:
        disk.truncate(1 << 20)
    os.utime(here / "key", (1_000_000_000, 1_000_000_000))
    there.mkdir()
    unpack(pack(here), there)
    assert (there / "key").read_bytes() == b"secret"
    assert (there / "key").stat().st_mode & 0o777 == 0o600
    assert (there / "key").stat().st_mtime == 1_000_000_000
    assert (there / "sub/link").readlink() == Path("../key")
    assert (there / "disk").stat().st_size == 1 << 20
    assert (there / "disk").stat().st_blocks < 100, "a hole stays a hole"


def test_what_breaks_off_is_no_directory(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half of it"
        raise Broken("gone")

    with pytest.raises(Broken):
        unpack(broken(), tmp_path)


def test_tar_says_why_it_cannot(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"(?s)tar: exit status 2.*This does not look like a tar archive"):
        unpack([b"no archive" * 1000], tmp_path)
    deque(pack(tmp_path), maxlen=0)
    with pytest.raises(ProcessError, match="not read to its end"):
        deque(pack(tmp_path / "gone"), maxlen=0)
