# SPDX-License-Identifier: GPL-2.0-or-later
"""A module or a kernel as code and data at addresses, with a symbol for each of them.

A module is not linked yet. Here each of its sections has addresses of its own, far from all others, and so
has each symbol of other modules. So an operand leads to an address in a module as in a kernel: by its
relocation, or, where assembler or linker have resolved it, by its value. Two builds are compared by what is
at the addresses (``place``), never by the addresses.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from guestloop.ground.errors import ConfigError
from guestloop.kernels import elf

_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_SYMTAB, _RELA, _NOBITS = 2, 4, 8  # SHT_*
_WRITE, _ALLOC, _EXECUTE, _MERGE, _STRINGS = 0x1, 0x2, 0x4, 0x10, 0x20  # SHF_*
_SECTION_SYMBOL, _FILE_SYMBOL, _FUNCTION_SYMBOL = 3, 4, 2  # STT_*
_UNDEFINED, _RESERVED = 0, 0xFF00  # SHN_*
_PC_RELATIVE = frozenset({2, 4})  # R_X86_64_PC32, R_X86_64_PLT32

_APART = 1 << 32  # no 32-bit displacement reaches from one section of a module into another
_FOREIGN = 1 << 48
_FOREIGN_BYTES = 1 << 20
_BEYOND = 1 << 64  # all addresses

# Marks of objtool and the compiler before a function (CALL_PADDING, CFI); they are no code of their own.
_MARKS = ("__pfx_", "__cfi_")
# What static_cpu_has() jumps to first; it belongs to no symbol, and says nothing that .altinstructions of the
# function does not (arch/x86/include/asm/cpufeature.h).
_NAMELESS = frozenset({".altinstr_aux"})
_COUNTED = re.compile(r"\.\d+(?=\.|$)")
_TEXT = re.compile(rb"[\x01-\x07\t\n\r\x1b -\x7e]+\0")

_NEAR = 4096  # how far before or behind data a loop may begin or end


class Place(NamedTuple):
    """What is at an address: the symbols before it, without their numbers, and the offset from them.

    A literal is named by its content.
    """

    names: frozenset[str]
    offset: int

    def is_same(self, other: Place) -> bool:
        """Whether two builds have the same there. Of several symbols at an address not all need be the same:
        one without a size, such as a key for lockdep, is where anything else begins or ends."""
        return self.offset == other.offset and not self.names.isdisjoint(other.names)


def neutral(symbol: str) -> str:
    """Return a symbol without the numbers that a compiler adds, which change with anything before it.

    ``foo.constprop.0`` is ``foo.constprop``, ``__func__.1234`` is ``__func__``.
    """
    name = _COUNTED.sub("", symbol)
    return name.rstrip("0123456789") if name.startswith("__UNIQUE_ID_") else name


def bare(symbol: str) -> str:
    """Return the function that a symbol belongs to: without ``.isra.0``, ``.part.0``, ``.cold`` and so on."""
    return symbol.partition(".")[0] or symbol  # a section, where there is no symbol


@dataclass(frozen=True)
class Section:
    """A section at its address. ``literal_bytes`` is the size of its merged constants, 0 for strings."""

    name: str
    address: int
    size: int
    content: bytes
    flags: int
    literal_bytes: int

    @property
    def end(self) -> int:
        return self.address + self.size

    @property
    def is_code(self) -> bool:
        return bool(self.flags & _EXECUTE)

    @property
    def is_literals(self) -> bool:
        return bool(self.flags & _MERGE)

    def literal(self, offset: int) -> str:
        """The string or constant at an offset of merged ones."""
        is_text = self.flags & _STRINGS
        end = self.content.find(b"\0", offset) if is_text else offset + self.literal_bytes
        return repr(self.content[offset:end])


@dataclass(frozen=True)
class Piece:
    """The code or data of a symbol, from its address to ``end``."""

    symbol: str
    address: int
    end: int
    section: Section
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", neutral(self.symbol))

    @property
    def content(self) -> bytes:
        start = self.section.address
        return self.section.content[self.address - start : self.end - start]


@dataclass(frozen=True)
class Symbol:
    """A symbol at its address. ``size`` is 0 where it is not known."""

    name: str
    address: int
    size: int = 0
    is_function: bool = False

    @property
    def end(self) -> int:
        return self.address + self.size

    @property
    def preference(self) -> tuple[bool, bool, bool, str]:
        """Of several at one address, that which comes first names what is there."""
        return not self.is_function, not self.size, self.name.startswith("_"), self.name


@dataclass(frozen=True)
class Operand:
    """A relocated operand: symbol and addend are ``target``, ``kind`` is the type of the relocation."""

    at: int
    kind: int
    target: int

    @property
    def is_relative(self) -> bool:
        """Its value counts from where it is."""
        return self.kind in _PC_RELATIVE


class Binary:
    """Code and data of one build.

    ``pieces`` are in ascending order. ``is_linked``: operands are values, there are no relocations.
    """

    def __init__(
        self,
        sections: Iterable[Section],
        symbols: Iterable[Symbol],
        operands: Iterable[Operand] = (),
        *,
        is_linked: bool = False,
    ) -> None:
        self.sections = tuple(sorted(sections, key=lambda section: section.address))
        self.is_linked = is_linked
        self._sections_at = [section.address for section in self.sections]
        named = _by_address(symbols)
        self.pieces = tuple(self._split(named))
        places = {section.address: frozenset({section.name}) for section in self.sections}
        places |= {at: frozenset(neutral(each.name) for each in there) for at, there in named.items()}
        self._starts = sorted(places)
        self._names = [places[at] for at in self._starts]
        self._ends = [max((each.end for each in named.get(at, ())), default=at) for at in self._starts]
        ordered = sorted(operands, key=lambda operand: operand.at)
        self._operands, self._operands_at = ordered, [operand.at for operand in ordered]
        self._referred = sorted({operand.target for operand in ordered})
        self.functions_at = frozenset(piece.address for piece in self.pieces if piece.section.is_code)

    @property
    def layout(self) -> tuple[Sequence[int], Sequence[frozenset[str]]]:
        """All symbols and their addresses."""
        return self._starts, self._names

    def section(self, name: str) -> Section | None:
        """The section of this name, None if there is none."""
        return next((section for section in self.sections if section.name == name), None)

    def section_at(self, address: int) -> Section | None:
        """The section that an address is in, None if there is none."""
        at = bisect_right(self._sections_at, address) - 1
        found = self.sections[at] if at >= 0 else None
        return found if found and address < found.end else None

    def place(self, address: int) -> Place | None:
        """What is at an address, None for an address outside of all sections."""
        section = self.section_at(address) or self._section_near(address)
        if section is None:
            return None
        if section.is_literals:
            return Place(frozenset({section.literal(address - section.address)}), 0)
        if section.name in _NAMELESS:
            return Place(frozenset({section.name}), 0)
        at = bisect_right(self._starts, max(address, section.address)) - 1
        return Place(self._names[at], address - self._starts[at])

    def nameless(self, address: int) -> int:
        """The end of the data of a module at an address, if no symbol names it: a constant, a jump table.

        It ends where something else begins that is named, or referred to. 0 for anything else.
        """
        section = None if self.is_linked else self.section_at(address)
        if section is None or section.is_code or section.is_literals or not section.content:
            return 0
        at = bisect_right(self._starts, address)
        if address < self._ends[at - 1]:
            return 0
        others = (self._starts[at:], self._referred[bisect_right(self._referred, address) :])
        return min(section.end, *(other[0] for other in others if other))

    def code_pointer(self, address: int) -> Place | None:
        """Where the pointer to code at an address leads, None if there is none."""
        section = self.section_at(address)
        if section is None:
            return None
        if self.is_linked:
            at = address - section.address
            target = int.from_bytes(section.content[at : at + 8], "little")
        else:
            target = next((each.target for each in self.operands(address, address + 1)), 0)
        there = self.section_at(target)
        return self.place(target) if there and there.is_code else None

    def _section_near(self, address: int) -> Section | None:
        """The section of a module that an address is a bit before, or behind."""
        if self.is_linked:
            return None
        found = self.sections[max(bisect_right(self._sections_at, address + _NEAR) - 1, 0)]
        return found if found.address - _NEAR <= address < found.end + _NEAR else None

    def text_at(self, address: int) -> bytes:
        """The printable string at an address in the read-only data of a kernel, empty if there is none.

        The linker has put all strings among the symbols there. Those of a module are literals, see ``place``.
        """
        section = self.section_at(address) if self.is_linked else None
        if section is None or not section.name.startswith(".rodata"):
            return b""
        match = _TEXT.match(section.content, address - section.address)
        return match[0] if match else b""

    def read(self, start: int, end: int) -> bytes:
        """The bytes in a range of addresses of one section."""
        section = self.section_at(start)
        return section.content[start - section.address : end - section.address] if section else b""

    def operands(self, start: int, end: int) -> Sequence[Operand]:
        """The relocated operands in a range of addresses."""
        first, last = bisect_left(self._operands_at, start), bisect_left(self._operands_at, end)
        return self._operands[first:last]

    def _split(self, named: Mapping[int, list[Symbol]]) -> Iterator[Piece]:
        """Split each section at its symbols. A label inside of a function is part of it."""
        order = sorted(named)
        covered = 0
        for address, following in pairwise([*order, _BEYOND]):
            section = self.section_at(address)
            if section is None or not section.content or address < covered:
                continue
            symbol = min(named[address], key=lambda each: each.preference)
            end = min(following, section.end)
            if symbol.size:
                end = symbol.end
                covered = end if section.is_code else covered
            yield Piece(symbol.name, address, end, section)


def _by_address(symbols: Iterable[Symbol]) -> dict[int, list[Symbol]]:
    named: dict[int, list[Symbol]] = {}
    for symbol in symbols:
        if symbol.name and not symbol.name.startswith(_MARKS):
            named.setdefault(symbol.address, []).append(symbol)
    return named


def read_module(path: Path) -> Binary:
    """Read a module. Raises ConfigError if it is none, or if its symbols were removed."""
    return _Unlinked(elf.read(path), path).read()


def read_vmlinux(image: Path, system_map: Path) -> Binary:
    """Read a kernel whose symbols are in the System.map of its build. Raises ConfigError if it is none."""
    parsed = elf.read(image)
    sections = [
        _section(parsed, header, header.address) for header in parsed.headers if header.flags & _ALLOC
    ]
    return Binary(sections, _read_map(system_map), is_linked=True)


def _read_map(path: Path) -> Iterator[Symbol]:
    """Lines of a System.map: address, type as of nm, name."""
    for line in path.read_text().splitlines():
        address, kind, name = line.split(maxsplit=2)
        yield Symbol(name, int(address, 16), is_function=kind in "tTwW")


def _section(parsed: elf.Elf, header: elf.Header, address: int) -> Section:
    end = header.offset + (0 if header.kind == _NOBITS else header.size)
    content = parsed.content[header.offset : end]
    return Section(header.name, address, header.size, content, header.flags, header.entry_size)


class _Unlinked:
    """Reads a module, whose sections are given addresses by their numbers."""

    def __init__(self, parsed: elf.Elf, path: Path) -> None:
        self._elf = parsed
        table = next((header for header in parsed.headers if header.kind == _SYMTAB), None)
        if table is None:
            raise ConfigError(f"{path}: no symbols", hint="was it stripped?")
        self._symbols = list(_SYMBOL.iter_unpack(self._content(table)))
        self._names = self._content(parsed.headers[table.link])

    def read(self) -> Binary:
        sections = [
            _section(self._elf, header, _base(number))
            for number, header in enumerate(self._elf.headers)
            if header.flags & _ALLOC
        ]
        foreign = [number for number, each in enumerate(self._symbols) if each[3] == _UNDEFINED]
        end = len(self._symbols) * _FOREIGN_BYTES
        if foreign:
            sections.append(Section("other modules", _FOREIGN, end, b"", 0, 0))
        return Binary(sections, self._named(), self._relocated())

    def _content(self, header: elf.Header) -> bytes:
        return self._elf.content[header.offset : header.offset + header.size]

    def _named(self) -> Iterator[Symbol]:
        for number, (name_at, info, _other, _section, _value, size) in enumerate(self._symbols):
            kind = info & 0xF
            address = self._address(number)
            if address is not None and kind not in {_SECTION_SYMBOL, _FILE_SYMBOL}:
                name = self._names[name_at : self._names.index(b"\0", name_at)].decode(errors="replace")
                yield Symbol(name, address, size, kind == _FUNCTION_SYMBOL)

    def _address(self, number: int) -> int | None:
        section, value = self._symbols[number][3:5]
        if section == _UNDEFINED:
            return _FOREIGN + number * _FOREIGN_BYTES
        return None if section >= _RESERVED else _base(section) + value

    def _relocated(self) -> Iterator[Operand]:
        for header in self._elf.headers:
            if header.kind != _RELA or not self._elf.headers[header.info].flags & _ALLOC:
                continue
            base = _base(header.info)
            for offset, info, addend in _RELOCATION.iter_unpack(self._content(header)):
                symbol = self._address(info >> 32)
                yield Operand(base + offset, info & 0xFFFFFFFF, (symbol or 0) + addend)


def _base(section: int) -> int:
    return (section + 1) * _APART
