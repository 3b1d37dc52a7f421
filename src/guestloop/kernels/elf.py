# SPDX-License-Identifier: GPL-2.0-or-later
"""Read what is needed of ELF files for x86-64: notes of a kernel or module, sections of a module.

The layout is that of ``include/uapi/linux/elf.h`` (``Elf64_Ehdr``, ``Elf64_Phdr``, ``Elf64_Shdr``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from guestloop.ground.errors import ConfigError

MAGIC = b"\x7fELF"
X86_64 = 62  # EM_X86_64
RELOCATABLE, EXECUTABLE, SHARED = 1, 2, 3  # ET_REL, ET_EXEC, ET_DYN

_CLASS_64_LITTLE_ENDIAN = b"\x02\x01"
_SEGMENT_NOTE, _SECTION_NOTE = 4, 7  # PT_NOTE, SHT_NOTE
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_NOTE = struct.Struct("<III")

NT_GNU_BUILD_ID = 3
XEN_ELFNOTE_PHYS32_ENTRY = 18  # include/xen/interface/elfnote.h: the PVH entry point


class NotElf(ValueError):
    """The bytes are not a whole ELF file for x86-64. The text says what was seen."""


@dataclass(frozen=True)
class Note:
    """A note: its owner (``GNU``, ``Xen``), its type, and its content."""

    owner: str
    kind: int
    content: bytes


class Header(NamedTuple):
    """A section: its name, and the fields of ``Elf64_Shdr`` as they are called there."""

    name: str
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    entry_size: int


@dataclass(frozen=True)
class Elf:
    """The content of an ELF file, where its notes are, as (offset, size), and its sections in order."""

    content: bytes
    kind: int
    notes_at: tuple[tuple[int, int], ...]
    headers: tuple[Header, ...]

    @property
    def sections(self) -> dict[str, tuple[int, int]]:
        """Offset and size of each section by name."""
        return {each.name: (each.offset, each.size) for each in self.headers}

    def section(self, name: str) -> bytes:
        """Return the content of a section, empty if there is none of this name."""
        offset, size = self.sections.get(name, (0, 0))
        return self.content[offset : offset + size]

    def notes(self) -> Iterator[Note]:
        """Yield all notes."""
        for offset, size in self.notes_at:
            yield from _split_notes(self.content[offset : offset + size])

    @property
    def build_id(self) -> str:
        """The GNU build-id in hex, empty if there is none."""
        found = (note for note in self.notes() if (note.owner, note.kind) == ("GNU", NT_GNU_BUILD_ID))
        return next((note.content.hex() for note in found), "")

    @property
    def has_pvh_entry(self) -> bool:
        """Whether QEMU can start this kernel directly (``hw/i386/x86-common.c``: load_elfboot)."""
        return any((note.owner, note.kind) == ("Xen", XEN_ELFNOTE_PHYS32_ENTRY) for note in self.notes())


def parse(content: bytes) -> Elf:
    """Parse an ELF file for x86-64. Raises NotElf for anything else, and if the file is cut short."""
    if not content.startswith(MAGIC):
        raise NotElf(f"begins with {content[:4].hex(' ') or 'nothing'}, not with the magic of ELF")
    try:
        return _parse(content)
    except struct.error as error:
        raise NotElf(f"is cut short: it has only {len(content)} bytes") from error


def read(path: Path) -> Elf:
    """Parse the ELF file at ``path``. Raises ConfigError if it is none for x86-64."""
    try:
        return parse(path.read_bytes())
    except NotElf as error:
        raise ConfigError(f"{path}: {error}") from error


def build_id(path: Path) -> str:
    """Return the GNU build-id of an ELF file, in hex. Raises ConfigError if it has none."""
    found = read(path).build_id
    if not found:
        raise ConfigError(f"{path}: no GNU build-id", hint="was it linked without --build-id?")
    return found


def _parse(content: bytes) -> Elf:
    header = _HEADER.unpack_from(content)
    identification, kind, machine = header[0], header[1], header[2]
    if identification[4:6] != _CLASS_64_LITTLE_ENDIAN or machine != X86_64:
        raise NotElf(f"is an ELF file for another architecture (e_machine {machine}), not for x86-64")
    segments_at, sections_at = header[5], header[6]
    segment_count, section_count, names_index = header[10], header[12], header[13]
    segments = [_SEGMENT.unpack_from(content, segments_at + i * _SEGMENT.size) for i in range(segment_count)]
    headers = [_SECTION.unpack_from(content, sections_at + i * _SECTION.size) for i in range(section_count)]
    _check_ends(content, [(each[2], each[5]) for each in segments])
    # A kernel that is loaded by its segments may have lost its sections, and a module has no segments.
    notes = [(each[2], each[5]) for each in segments if each[0] == _SEGMENT_NOTE] or [
        (each[4], each[5]) for each in headers if each[1] == _SECTION_NOTE
    ]
    return Elf(content, kind, tuple(notes), tuple(_name_sections(content, headers, names_index)))


def _check_ends(content: bytes, ranges: list[tuple[int, int]]) -> None:
    """Raise NotElf if a segment ends behind the file: that of half a download does."""
    if any(offset + size > len(content) for offset, size in ranges):
        raise NotElf(f"is cut short: it has only {len(content)} bytes")


def _name_sections(content: bytes, headers: list[tuple[int, ...]], names_index: int) -> Iterator[Header]:
    if not headers:
        return
    names_at = headers[names_index][4]
    for each in headers:
        start = names_at + each[0]
        end = content.find(b"\0", start)
        kind, flags, address, offset, size, link, info, _alignment, entry_size = each[1:]
        name = content[start:end].decode(errors="replace")
        yield Header(name, kind, flags, address, offset, size, link, info, entry_size)


def _split_notes(notes: bytes) -> Iterator[Note]:
    """Split a run of notes: sizes of owner and content, type, then both, each padded to 4 bytes."""
    at = 0
    while at + _NOTE.size <= len(notes):
        owner_size, size, kind = _NOTE.unpack_from(notes, at)
        owner_at = at + _NOTE.size
        content_at = owner_at + (owner_size + 3) // 4 * 4
        owner = notes[owner_at : owner_at + owner_size].rstrip(b"\0").decode(errors="replace")
        yield Note(owner, kind, notes[content_at : content_at + size])
        at = content_at + (size + 3) // 4 * 4
