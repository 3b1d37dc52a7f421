# SPDX-License-Identifier: GPL-2.0-or-later
"""What belongs to the code of a function but is kept in a table of its own section.

Each record begins with a pointer to the instruction that it is about, relative to itself
(``arch/x86/include/asm``: ``extable.h``, ``bug.h``, ``alternative.h``, ``static_call.h``, ``jump_label.h``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guestloop.kernels.binary import Binary, Operand, Place, Section
from guestloop.kernels.sameness import Pair, Side

TABLES = ("__ex_table", "__bug_table", ".altinstructions", ".static_call_sites", "__jump_table")
_REPLACED, _REPLACEMENT = ".altinstructions", ".altinstr_replacement"
_BUGS = "__bug_table"
_WITHOUT_LINE = 8  # bytes of a record of _BUGS without CONFIG_DEBUG_BUGVERBOSE
_RECORD_BYTES = range(8, 33, 2)
_POINTER = struct.Struct("<i")


@dataclass(frozen=True)
class Record:
    """What it is about, its bytes that are no pointers, where its pointers lead, and code that it has."""

    about: Place
    rest: bytes
    pointers: tuple[int, ...]
    code: Side | None


def read_records(binary: Binary) -> dict[str, list[Record]]:
    """Return the records of all tables by the symbol whose code they are about."""
    found: dict[str, list[Record]] = {}
    for section in filter(None, map(binary.section, TABLES)):
        for record in _Table(binary, section).records():
            found.setdefault(min(record.about.names), []).append(record)
    return found


def records_alike(pair: Pair, a: Sequence[Record], b: Sequence[Record]) -> bool:
    """Whether the records about the code of a symbol are the same in both builds."""
    return len(a) == len(b) and all(_alike(pair, one, other) for one, other in zip(a, b, strict=True))


def _alike(pair: Pair, a: Record, b: Record) -> bool:
    return (
        a.about.is_same(b.about)
        and (a.rest, len(a.pointers)) == (b.rest, len(b.pointers))
        and all(map(pair.leads_alike, a.pointers, b.pointers))
        and (a.code is None or b.code is None or pair.is_alike(a.code, b.code))
    )


class _Table:
    """A section of records of one size, which is found out: their format depends on version and options."""

    def __init__(self, binary: Binary, section: Section) -> None:
        self._binary, self._section = binary, section
        self._size = next(filter(self._are_records_of, _RECORD_BYTES), 0)

    def records(self) -> Iterator[Record]:
        starts = range(self._section.address, self._section.end, self._size) if self._size else ()
        for start in starts:
            if record := self._record(start):
                yield record

    def _are_records_of(self, size: int) -> bool:
        section = self._section
        if section.size % size:
            return False
        return all(self._is_about_code(start) for start in range(section.address, section.end, size))

    def _is_about_code(self, start: int) -> bool:
        pointer = self._pointer(start)
        section = self._binary.section_at(pointer.target) if pointer else None
        return section is not None and section.is_code

    def _pointer(self, at: int) -> Operand | None:
        if not self._binary.is_linked:
            return next(iter(self._binary.operands(at, at + 1)), None)
        offset = at - self._section.address
        (distance,) = _POINTER.unpack_from(self._section.content, offset)
        return Operand(at, 0, at + int(distance))

    def _record(self, start: int) -> Record | None:
        pointers = self._pointers(start)
        about = self._binary.place(pointers[0])
        if about is None:
            return None
        code = None
        if self._section.name == _REPLACED:
            code = self._replacement(pointers.pop(), self._bytes(start)[-1])
        return Record(about, self._rest(start), tuple(pointers[1:]), code)

    def _pointers(self, start: int) -> list[int]:
        if not self._binary.is_linked:
            return [operand.target for operand in self._binary.operands(start, start + self._size)]
        found = (self._pointer(start + at) for at in self._linked_pointers)
        return [pointer.target for pointer in found if pointer]

    @property
    def _linked_pointers(self) -> tuple[int, ...]:
        """Offsets of the pointers in a record, which are values in a kernel."""
        match self._section.name:
            case "__bug_table":
                return tuple(range(0, self._size - 4, 4))  # line and flags come last
            case "__jump_table":
                return (0, 4, 8)
            case _:
                return (0, 4)

    def _bytes(self, start: int) -> bytes:
        offset = start - self._section.address
        return self._section.content[offset : offset + self._size]

    def _rest(self, start: int) -> bytes:
        """The bytes of a record without its pointers, and without the line of a warning."""
        rest = bytearray(self._bytes(start))
        for at in self._linked_pointers if self._binary.is_linked else ():
            rest[at : at + _POINTER.size] = bytes(_POINTER.size)
        if self._section.name == _BUGS and self._size > _WITHOUT_LINE:
            rest[self._size - 4 : self._size - 2] = bytes(2)
        return bytes(rest)

    def _replacement(self, address: int, size: int) -> Side | None:
        section = self._binary.section(_REPLACEMENT)
        if section is None:
            return None
        offset = address - section.address
        content = section.content[offset : offset + size]
        return Side(
            self._binary, address, content, tuple(self._binary.operands(address, address + size)), True
        )
