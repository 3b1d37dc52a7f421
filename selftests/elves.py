# SPDX-License-Identifier: GPL-2.0-or-later
"""Small ELF files, modules and boot images, composed byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from guestloop.kernels.elf import EXECUTABLE, RELOCATABLE, X86_64

HEADER_BYTES, SEGMENT_BYTES, SECTION_BYTES = 64, 56, 64
SECTOR = 512
SETUP_SECTORS = 3
BUILD_ID = bytes(range(20))


def note(owner: bytes, kind: int, content: bytes) -> bytes:
    """An ELF note, padded as the linker does."""
    parts = (owner + b"\0", content)
    sizes = struct.pack("<III", len(parts[0]), len(parts[1]), kind)
    return sizes + b"".join(part + bytes(-len(part) % 4) for part in parts)


GNU_NOTE = note(b"GNU", 3, BUILD_ID)
PVH_NOTE = note(b"Xen", 18, bytes(8))


def elf_file(kind: int, notes: bytes, sections: Mapping[str, bytes], machine: int = X86_64) -> bytes:
    """An ELF file whose notes are in a segment, as in a kernel, or in a section, as in a module."""
    has_segment = kind != RELOCATABLE
    parts = {**sections} if has_segment else {".note.gnu.build-id": notes, **sections}
    names = b"\0" + b"".join(name.encode() + b"\0" for name in [*parts, ".shstrtab"])
    parts[".shstrtab"] = names
    at = HEADER_BYTES + (SEGMENT_BYTES if has_segment else 0)
    segment = struct.pack("<IIQQQQQQ", 4, 4, at, 0, 0, len(notes), len(notes), 4) if has_segment else b""
    body, headers = (notes if has_segment else b""), bytes(SECTION_BYTES)
    for name, content in parts.items():
        section = 7 if name.startswith(".note") else 1
        name_at = names.index(b"\0" + name.encode() + b"\0") + 1
        place = at + len(body)
        headers += struct.pack("<IIQQQQIIQQ", name_at, section, 0, 0, place, len(content), 0, 0, 1, 0)
        body += content
    counts = (int(has_segment), SECTION_BYTES, len(parts) + 1, len(parts))
    header = struct.pack(
        "<4s12xHHIQQQIHHHHHH",
        b"\x7fELF",
        kind,
        machine,
        1,
        0,
        HEADER_BYTES if has_segment else 0,
        at + len(body),
        0,
        HEADER_BYTES,
        SEGMENT_BYTES,
        *counts,
    )
    identified = header[:4] + b"\x02\x01\x01" + header[7:]
    return identified + segment + body + headers


def vmlinux(notes: bytes = GNU_NOTE + PVH_NOTE) -> bytes:
    """A kernel with these notes, and something that compresses."""
    return elf_file(EXECUTABLE, notes, {".text": bytes(5000)})


def module(*records: str, notes: bytes = GNU_NOTE) -> bytes:
    """A module with these records in its .modinfo."""
    info = b"".join(record.encode() + b"\0" for record in records)
    return elf_file(RELOCATABLE, notes, {".text": bytes(16), ".modinfo": info})


def bzimage(payload: bytes, version: int = 0x20F) -> bytes:
    """A boot image with this payload, some bytes into its protected-mode code."""
    offset = 100
    setup = bytearray((SETUP_SECTORS + 1) * SECTOR)
    setup[0x1F1] = SETUP_SECTORS
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, version)
    struct.pack_into("<II", setup, 0x248, offset, len(payload))
    return bytes(setup) + bytes(offset) + payload + b"end of the image"


def sized(packed: bytes, content: bytes) -> bytes:
    """A payload: kbuild writes the size of its content behind it (scripts/Makefile.lib: size_append)."""
    return packed + struct.pack("<I", len(content))
