# SPDX-License-Identifier: GPL-2.0-or-later
"""Modules and kernels with code, data, symbols and relocations, composed byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CODE, DATA, TEXTS, NO_BITS = "code", "data", "texts", "no bits"
_FLAGS = {CODE: 0x6, DATA: 0x2, TEXTS: 0x32, NO_BITS: 0x3}  # SHF_*
POINTER, PC32, PLT32, ABSOLUTE = 1, 2, 4, 11  # R_X86_64_64, and so on
RET, CALL, NOP = b"\xc3", b"\xe8", b"\x90"


Row = tuple[str, int, int, int, bytes, int, int, int]
"""A section: name, type, flags, address, content, link, info, entry size."""


@dataclass(frozen=True)
class Part:
    """What a symbol names. ``refers`` has (type, symbol or section, addend) by offset.

    A name that begins with a dot is none of a symbol, as labels of the compiler are.
    """

    name: str
    content: bytes
    refers: Mapping[int, tuple[int, str, int]] = field(default_factory=dict)
    section: str = ".text"
    sized: bool = True


def calls(*functions: str) -> tuple[bytes, dict[int, tuple[int, str, int]]]:
    """Code that calls functions, with relocations, and returns."""
    code = b"".join(CALL + bytes(4) for _ in functions) + RET
    return code, {5 * at + 1: (PLT32, name, -4) for at, name in enumerate(functions)}


def jumps_to(distance: int) -> bytes:
    """A call whose displacement the assembler has resolved already."""
    return CALL + struct.pack("<i", distance) + RET


def kind_of(section: str) -> str:
    if section.startswith(".rodata.str"):
        return TEXTS
    if section.startswith(".bss"):
        return NO_BITS
    return CODE if "text" in section or section == ".altinstr_replacement" else DATA


def sections_of(parts: Sequence[Part], align: int) -> dict[str, tuple[bytes, dict[str, int]]]:
    """The content of each section, and the offsets of its symbols."""
    found: dict[str, tuple[bytes, dict[str, int]]] = {}
    for part in parts:
        content, offsets = found.get(part.section, (b"", {}))
        kind = kind_of(part.section)
        step = 1 if kind == TEXTS or part.section.startswith("__") else align
        content += (NOP if kind == CODE else b"\0") * (-len(content) % step)
        found[part.section] = content + part.content, {**offsets, part.name: len(content)}
    return found


class Names:
    """A table of names."""

    def __init__(self) -> None:
        self.content = b"\0"

    def add(self, name: str) -> int:
        at = len(self.content)
        self.content += name.encode() + b"\0"
        return at


def module_file(*parts: Part, align: int = 16, notes: bytes = b"") -> bytes:
    """A module of these parts. What they refer to and is not among them is of other modules."""
    made = sections_of(parts, align)
    numbers = {name: number for number, name in enumerate(made, start=1)}
    names, symbols, index = Names(), [bytes(24)], {}
    for name, number in numbers.items():
        index[name] = len(symbols)
        symbols.append(struct.pack("<IBBHQQ", 0, 3, 0, number, 0, 0))
    for part in parts:
        kind = 2 if kind_of(part.section) == CODE else 1
        offset, size = made[part.section][1][part.name], len(part.content) if part.sized else 0
        index[part.name] = len(symbols)
        where = numbers[part.section]
        shown = "" if part.name.startswith(".") else part.name
        symbols.append(struct.pack("<IBBHQQ", names.add(shown), kind, 0, where, offset, size))
    for foreign in sorted({to for part in parts for _, to, _ in part.refers.values()} - index.keys()):
        index[foreign] = len(symbols)
        symbols.append(struct.pack("<IBBHQQ", names.add(foreign), 0x10, 0, 0, 0, 0))
    tables: dict[str, bytes] = {}
    for part in parts:
        base = made[part.section][1][part.name]
        for at, (kind, to, addend) in part.refers.items():
            record = struct.pack("<QQq", base + at, index[to] << 32 | kind, addend)
            tables[part.section] = tables.get(part.section, b"") + record
    table_at = len(made) + len(tables) + 1
    rows: list[Row] = [
        (name, 8 if kind_of(name) == NO_BITS else 1, _FLAGS[kind_of(name)], 0, content, 0, 0, 1)
        for name, (content, _) in made.items()
    ]
    rows += [
        (f".rela{name}", 4, 0, 0, content, table_at, numbers[name], 24) for name, content in tables.items()
    ]
    rows += [
        (".symtab", 2, 0, 0, b"".join(symbols), table_at + 1, 0, 24),
        (".strtab", 3, 0, 0, names.content, 0, 0, 0),
        (".note.gnu.build-id", 7, 0, 0, notes, 0, 0, 0),
    ]
    return elf_of(1, rows)


TEXT_AT, DATA_AT = 0xFFFFFFFF81000000, 0xFFFFFFFF81800000


def kernel_files(directory: Path, *parts: Part, align: int = 16) -> tuple[Path, Path]:
    """A kernel of these parts, linked, and its System.map."""
    made = sections_of(parts, align)
    bases = {
        name: DATA_AT + 0x100000 * number if kind_of(name) != CODE else TEXT_AT + 0x100000 * number
        for number, name in enumerate(made)
    }
    at = {symbol: bases[name] + offset for name, (_, own) in made.items() for symbol, offset in own.items()}
    linked = {name: bytearray(content) for name, (content, _) in made.items()}
    for part in parts:
        for offset, (kind, to, addend) in part.refers.items():
            place = at[part.name] + offset
            value = at[to] + addend - (place if kind in {PC32, PLT32} else 0)
            start = place - bases[part.section]
            size = 8 if kind == POINTER else 4
            linked[part.section][start : start + size] = (value % (1 << 64)).to_bytes(8, "little")[:size]
    rows: list[Row] = [
        (name, 1, _FLAGS[kind_of(name)], bases[name], bytes(linked[name]), 0, 0, 1) for name in made
    ]
    image, system_map = directory / "vmlinux", directory / "System.map"
    directory.mkdir(parents=True, exist_ok=True)
    image.write_bytes(elf_of(2, rows))
    kinds = {part.name: "t" if kind_of(part.section) == CODE else "d" for part in parts}
    lines = (
        f"{address:016x} {kinds[name]} {name}\n" for name, address in sorted(at.items()) if name[:1] != "."
    )
    system_map.write_text("".join(lines))
    return image, system_map


def elf_of(kind: int, rows: Sequence[Row]) -> bytes:
    """An ELF file of these sections."""
    names, body, headers = Names(), b"", bytes(64)
    table = [*rows, (".shstrtab", 3, 0, 0, b"", 0, 0, 0)]
    name_at = [names.add(row[0]) for row in table]
    for start, (name, section, flags, address, content, link, info, entry) in zip(
        name_at, table, strict=True
    ):
        own = names.content if name == ".shstrtab" else content
        headers += struct.pack(
            "<IIQQQQIIQQ", start, section, flags, address, 64 + len(body), len(own), link, info, 1, entry
        )
        body += b"" if section == 8 else own
    counts = (64, 0, 0, 64, len(table) + 1, len(table))
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", kind, 62, 1, 0, 0, 64 + len(body), 0, *counts
    )
    return header + body + headers
