# SPDX-License-Identifier: GPL-2.0-or-later
"""Decompress what kbuild compressed: the payload of a bzImage, and modules.

The format is told by the magic number, as ``lib/decompress.c`` of the kernel does. zstd and lz4 are not in
Python's library, so their tools are run.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

from guestloop.ground import proc

_ANY_GZIP_HEADER = 16 + zlib.MAX_WBITS


class Undecodable(ValueError):
    """The data is in no known format, or damaged. The text says which."""


def decompress(data: bytes, scratch: Path) -> bytes:
    """Return the content of compressed data. ``scratch`` is a directory for the files of a tool.

    Raises Undecodable, and LabError if a tool is not installed.
    """
    for magic, name, decode in FORMATS:
        if data.startswith(magic):
            try:
                return decode(data, scratch)
            except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
                raise Undecodable(f"damaged {name} data: {error}") from error
    raise Undecodable(f"no known compression begins with {data[:4].hex(' ') or 'nothing'}")


def _gzip(data: bytes, _scratch: Path) -> bytes:
    stream = zlib.decompressobj(_ANY_GZIP_HEADER)
    return _whole(stream.decompress(data), stream.eof)


def _xz(data: bytes, _scratch: Path) -> bytes:
    stream = lzma.LZMADecompressor()
    return _whole(stream.decompress(data), stream.eof)


def _bzip2(data: bytes, _scratch: Path) -> bytes:
    stream = bz2.BZ2Decompressor()
    return _whole(stream.decompress(data), stream.eof)


def _whole(content: bytes, complete: bool) -> bytes:
    if not complete:
        raise EOFError("it ends too early")
    return content


def _zstd(data: bytes, scratch: Path) -> bytes:
    return _run("zstd", data, scratch, "-o")


def _lz4(data: bytes, scratch: Path) -> bytes:
    return _run("lz4", data, scratch)


def _run(name: str, data: bytes, scratch: Path, *before_output: str) -> bytes:
    """Run a tool. It refuses bytes behind the end of the stream."""
    packed, unpacked = scratch / f"packed.{name}", scratch / f"unpacked.{name}"
    try:
        packed.write_bytes(data)
        argv: list[proc.Arg] = [proc.find_program(name), "-q", "-d", "-f", packed, *before_output, unpacked]
        done = proc.run(argv, check=False)
        if done.status != 0:
            raise EOFError(done.output.strip() or f"{name} ended with status {done.status}")
        return unpacked.read_bytes()
    finally:
        packed.unlink(missing_ok=True)
        unpacked.unlink(missing_ok=True)


Decoder = Callable[[bytes, Path], bytes]
FORMATS: tuple[tuple[bytes, str, Decoder], ...] = (
    (b"\x28\xb5\x2f\xfd", "zstd", _zstd),
    (b"\x02\x21\x4c\x18", "lz4", _lz4),  # its "legacy" frame, which kbuild makes
    (b"\xfd7zXZ\0", "xz", _xz),
    (b"\x1f\x8b", "gzip", _gzip),
    (b"BZh", "bzip2", _bzip2),
    (b"\x5d\0\0", "lzma", _xz),
)
