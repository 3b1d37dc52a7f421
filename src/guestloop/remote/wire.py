# SPDX-License-Identifier: GPL-2.0-or-later
"""What the two ends say to each other, over the stdin and stdout of a command on the host.

It begins with a line, before which the host's shell may have printed what it likes. Then there are frames: a
letter, a length of four bytes, and so many bytes.

::

    J   a value in JSON; {"error": ...} is an error of the far end (errors.describe)
    D   a piece of a stream, as zlib has compressed it
    E   the end of a stream: the SHA-256 of what it was before that
    O L what the run has printed on stdout, and into its log

A stream that breaks off has no E, so it cannot be taken for whole.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from guestloop.ground.errors import LabError, LinkLost, describe, revive
from guestloop.ground.units import MIB

READY = b"guestloop-there 1\n"
PREAMBLE = 16 * 1024
"""Bytes that a login shell may print before."""

LONGEST = 16 * MIB
PIECE = 256 * 1024
COMPRESSION = 1
"""Kernels and disks become half as large at 50 to 100 MB/s; more compression is slower than most networks."""

DONE, WANT, SENT, FILES_WANTED = "done", "want", "sent", "files"
"""Keys of what the far end says: what came of an operation; an entry that it asks for, and what is answered;
whether it takes the files of a run."""

_HEAD = struct.Struct(">cI")


class Kind(Enum):
    """What a frame is."""

    VALUE = b"J"
    PIECE = b"D"
    END = b"E"
    STDOUT = b"O"
    LOG = b"L"


class Broken(LinkLost):
    """The other end does not say any more: it, or the connection, has ended."""


class Wire:
    """One end. ``read`` returns up to so many bytes, none at the end; ``write`` writes all.

    Everything that receives raises Broken when the other end is gone.
    """

    def __init__(self, read: Callable[[int], bytes], write: Callable[[bytes], object]) -> None:
        self._read, self._write = read, write
        self.has_begun = False
        """Whether the far end was there."""

    # --- frames ---

    def send_frame(self, kind: Kind, data: bytes) -> None:
        """Send one frame."""
        self._write(_HEAD.pack(kind.value, len(data)) + data)

    def receive_frame(self) -> tuple[Kind, bytes]:
        """The next frame. Raises LabError for what is none."""
        letter, length = _HEAD.unpack(self._exactly(_HEAD.size))
        try:
            kind = Kind(letter)
        except ValueError:
            raise LabError(f"the other end of --host speaks another language: {letter!r}") from None
        if length > LONGEST:
            raise LabError(f"the other end of --host sends a frame of {length} bytes")
        return kind, self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            piece = self._read(size - len(found))
            if not piece:
                raise Broken("the other end of --host is gone")
            found += piece
        return bytes(found)

    def skip_preamble(self) -> None:
        """Read up to where the far end begins. Raises Broken if it does not."""
        seen = b""
        while not seen.endswith(READY):
            seen += self._exactly(1)
            if len(seen) > PREAMBLE:
                raise LabError(f"the login shell of the host prints without end: {seen[:40]!r}")
        self.has_begun = True

    def begin(self) -> None:
        """The far end is there."""
        self._write(READY)

    # --- values ---

    def send(self, value: object) -> None:
        """Send a value as JSON."""
        self.send_frame(Kind.VALUE, json.dumps(value).encode())

    def send_error(self, error: Exception) -> None:
        """Send what went wrong; it is raised where a value is received."""
        self.send({"error": describe(error)})

    def receive(self) -> Any:
        """The next value. Raises what the other end sent as an error."""
        kind, data = self.receive_frame()
        if kind is not Kind.VALUE:
            raise LabError(f"the other end of --host sends {kind.name}, a value was wanted")
        return parse_value(data)

    def drain(self) -> None:
        """Read up to the end, for an error that the other end has sent. Raises that, or Broken."""
        while True:
            kind, data = self.receive_frame()
            if kind is Kind.VALUE:
                parse_value(data)

    # --- streams ---

    def send_stream(self, pieces: Iterable[bytes]) -> int:
        """Send bytes, compressed; returns how many they were before."""
        digest, size, packed = hashlib.sha256(), 0, zlib.compressobj(COMPRESSION)
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            if data := packed.compress(piece):
                self.send_frame(Kind.PIECE, data)
        self.send_frame(Kind.PIECE, packed.flush())
        self.send_frame(Kind.END, digest.digest())
        return size

    def receive_stream(self) -> Iterator[bytes]:
        """The bytes of a stream. Raises LabError at its end if they are not what was sent.

        An error that comes in its place is raised.
        """
        digest, packed = hashlib.sha256(), zlib.decompressobj()
        while True:
            kind, data = self.receive_frame()
            if kind is Kind.VALUE:
                raise LabError(f"the other end of --host sends {parse_value(data)!r:.80} in a stream")
            if kind is Kind.END:
                break
            piece = packed.decompress(data)
            digest.update(piece)
            if piece:
                yield piece
        if digest.digest() != data:
            raise LabError("what was copied is not what was sent: its SHA-256 differs")


def parse_value(data: bytes) -> Any:
    """The value in a frame. Raises the error that it is."""
    value = json.loads(data)
    if isinstance(value, Mapping) and "error" in value:
        raise revive(value["error"])
    return value
