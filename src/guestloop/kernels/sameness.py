# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the code or data of two builds is the same, wherever it and what it refers to has gone.

Relocations are compared by what they lead to. Operands that are values already, as all are in a kernel and
those to functions of the same file in a module, are found where the bytes differ: the two are the same if
they can be read as an operand that leads to the same place in both builds. A constant that has changed does
not pass for one, as it would have to change by just the distance that some symbol was moved.
Where the bytes are equal but symbols were moved, calls and jumps to functions, and operands in memory, are
looked up in both builds as well.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from guestloop.kernels.binary import Binary, Operand, Piece, Place, bare

_DIFFERENT = re.compile(rb"[^\0]")
_BRANCH = re.compile(rb"(?=(?:[\xe8\xe9]|\x0f[\x80-\x8f])(.{4}))", re.DOTALL)
# Instructions that read or write memory, or take its address, relative to %rip; none that takes %esp.
_MEMORY = re.compile(
    rb"(?=(?:[\x03\x0b\x13\x23\x2b\x33\x38-\x3b\x84\x85\x88-\x8b\x8d][\x05\x0d\x15\x1d\x2d\x35\x3d]"
    rb"|[\x4c-\x4f][\x03\x0b\x13\x23\x2b\x33\x38-\x3b\x84\x85\x88-\x8b\x8d]\x25"
    rb"|[\x80\x81\x83][\x05\x0d\x15\x1d\x25\x2d\x35\x3d]"
    rb"|\x0f[\xa3\xab\xaf\xb3\xb6\xb7\xbb\xbe\xbf][\x05\x0d\x15\x1d\x2d\x35\x3d]"
    rb"|[\xc6\xc7\xf6\xf7]\x05|\xff[\x05\x0d\x15\x35])(.{4}))",
    re.DOTALL,
)
# An address of a kernel is moved to a register; they are all among the highest 2 GiB.
_ADDRESS = re.compile(rb"(?=[\x48\x49]\xc7[\xc0-\xc7](...[\x80-\xff]))", re.DOTALL)
# What assemblers pad code with: int3, nop, and the longer forms of nop.
_PADDING = re.compile(
    rb"(?:\x66*\x2e?\x0f\x1f(?:\x84\0{5}|\x80\0{4}|\x44\0\0|\x40\0|\0)|\x66*\x90|\xcc)+\Z", re.DOTALL
)
_PADDING_BYTES = 64  # CONFIG_FUNCTION_ALIGNMENT is at most that
_SHORT_BRANCHES = frozenset({0xEB, *range(0x70, 0x80), *range(0xE0, 0xE4)})
_ADDRESSES = 1 << 64
_POINTER_BYTES = 8
_SIGNED_32 = struct.Struct("<i")


@dataclass(frozen=True)
class Side:
    """A piece of code or data in one of the builds."""

    binary: Binary
    start: int
    content: bytes
    operands: tuple[Operand, ...]
    is_code: bool

    @classmethod
    def of(cls, binary: Binary, piece: Piece) -> Side:
        """The code of a function without the padding behind it, or data without the zeros behind it."""
        content, is_code = piece.content, piece.section.is_code
        content = _without_padding(content) if is_code else content.rstrip(b"\0")
        return cls(binary, piece.address, content, tuple(binary.operands(piece.address, piece.end)), is_code)

    @classmethod
    def of_data(cls, binary: Binary, start: int, end: int) -> Side:
        """Data that has no symbol, without the zeros behind it."""
        content = binary.read(start, end).rstrip(b"\0")
        return cls(binary, start, content, tuple(binary.operands(start, end)), is_code=False)

    def relative(self, at: int) -> int:
        """Where the displacement at an offset leads."""
        (distance,) = _SIGNED_32.unpack_from(self.content, at)
        # Per-CPU data of a kernel is at addresses from 0 on.
        return (self.start + at + int(distance) + self._counted_from(at)) % _ADDRESSES

    def target(self, operand: Operand) -> int:
        """Where a relocated operand leads."""
        return operand.target + (self._counted_from(operand.at - self.start) if operand.is_relative else 0)

    def _counted_from(self, at: int) -> int:
        """What the displacement at an offset counts from: itself in data, the next instruction in code."""
        return _SIGNED_32.size + _immediate_behind(self.content, at) if self.is_code else 0

    def short(self, at: int) -> int:
        """Where the short branch whose displacement is at an offset leads."""
        return self.start + at + 1 + int.from_bytes(self.content[at : at + 1], signed=True)

    def absolute(self, at: int, size: int) -> int:
        """The address in the ``size`` bytes at an offset; one of 4 bytes is extended by its sign."""
        return int.from_bytes(self.content[at : at + size], "little", signed=True) % _ADDRESSES

    def address(self, at: int) -> int:
        """The address in the 4 bytes at an offset."""
        return self.absolute(at, _SIGNED_32.size)

    def takes_displacement(self, at: int) -> bool:
        """Whether what stands before an offset takes a displacement of 4 bytes, in code."""
        before = self.content[at - 1] if at else 0
        return (
            before in {0xE8, 0xE9}  # call, jmp
            or _is_relative_to_rip(before)
            or (at > 1 and self.content[at - 2] == 0x0F and 0x80 <= before <= 0x8F)  # jcc
        )


@dataclass(frozen=True)
class Pair:
    """Two builds whose code and data are compared."""

    a: Binary
    b: Binary

    @cached_property
    def is_moved(self) -> bool:
        """Some symbol is at another address, so that equal values may lead to different places."""
        return self.a.layout != self.b.layout

    def is_same(self, one: Piece, other: Piece) -> bool:
        """Whether two pieces are the same code, or the same data."""
        return self.is_alike(Side.of(self.a, one), Side.of(self.b, other))

    def is_alike(self, a: Side, b: Side) -> bool:
        """Whether two sides are the same."""
        if len(a.content) != len(b.content) or not self._relocated_alike(a, b):
            return False
        if a.content != b.content and not self._differs_by_operands(a, b):
            return False
        return not (a.is_code and self.is_moved) or self._equal_bytes_lead_alike(a, b)

    def leads_alike(self, at_a: int, at_b: int) -> bool:
        """Whether there is the same at two addresses: what has the same name, or, without one, content."""
        table_a, table_b = _jump_table(self.a, at_a), _jump_table(self.b, at_b)
        if table_a or table_b:
            return len(table_a) == len(table_b) and all(map(Place.is_same, table_a, table_b))
        ends = self.a.nameless(at_a), self.b.nameless(at_b)
        if all(ends):
            return self._has_same_content(at_a, at_b, *ends)
        return self._is_one_place(at_a, at_b)

    def _has_same_content(self, at_a: int, at_b: int, end_a: int, end_b: int) -> bool:
        a, b = Side.of_data(self.a, at_a, end_a), Side.of_data(self.b, at_b, end_b)
        return (
            a.content == b.content
            and [each.at - at_a for each in a.operands] == [each.at - at_b for each in b.operands]
            and all(
                self._is_one_place(one.target, other.target)
                for one, other in zip(a.operands, b.operands, strict=True)
            )
        )

    def _is_one_place(self, at_a: int, at_b: int) -> bool:
        place_a, place_b = self.a.place(at_a), self.b.place(at_b)
        if place_a is None or place_b is None:
            return False
        if place_a.is_same(place_b):
            return True
        text = self.a.text_at(at_a)
        return bool(text) and text == self.b.text_at(at_b)

    def _relocated_alike(self, a: Side, b: Side) -> bool:
        return len(a.operands) == len(b.operands) and all(
            one.at - a.start == other.at - b.start
            and one.kind == other.kind
            and self.leads_alike(a.target(one), b.target(other))
            for one, other in zip(a.operands, b.operands, strict=True)
        )

    def _differs_by_operands(self, a: Side, b: Side) -> bool:
        differing = int.from_bytes(a.content, "little") ^ int.from_bytes(b.content, "little")
        mask, at = differing.to_bytes(len(a.content), "little"), 0
        while match := _DIFFERENT.search(mask, at):
            end = self._end_of_operand(a, b, match.start())
            if not end:
                return False
            at = end
        return True

    def _end_of_operand(self, a: Side, b: Side, differing: int) -> int:
        """The end of the operand that explains why a byte differs, 0 if none does."""
        for at in range(differing, max(differing - 8, -1), -1):
            for size in (4, 8, 1):
                end = at + size
                if differing < end <= len(a.content) and self._is_same_operand(a, b, at, size):
                    return end
        return 0

    def _is_same_operand(self, a: Side, b: Side, at: int, size: int) -> bool:
        if size == 1:
            branches = a.is_code and at and a.content[at - 1] in _SHORT_BRANCHES
            return bool(branches) and self.leads_alike(a.short(at), b.short(at))
        if self.leads_alike(a.absolute(at, size), b.absolute(at, size)):
            return True
        if size != _SIGNED_32.size or (a.is_code and not a.takes_displacement(at)):
            return False
        return self.leads_alike(a.relative(at), b.relative(at))

    def _equal_bytes_lead_alike(self, a: Side, b: Side) -> bool:
        relocated = {operand.at - a.start for operand in a.operands}
        return all(
            self.leads_alike(target(a, at), target(b, at))
            for at, target in self._known_operands(a)
            if at not in relocated and a.content[at : at + 4] == b.content[at : at + 4]
        )

    def _known_operands(self, a: Side) -> Iterator[tuple[int, Callable[[Side, int], int]]]:
        """Values that lead to a function, or into data of a kernel: their offsets, and how they are read."""
        for match in _BRANCH.finditer(a.content):
            if a.relative(match.start(1)) in self.a.functions_at:
                yield match.start(1), Side.relative
        if not self.a.is_linked:
            return
        for match in _MEMORY.finditer(a.content):
            section = self.a.section_at(a.relative(match.start(1)))
            if section and not section.is_code:
                yield match.start(1), Side.relative
        for match in _ADDRESS.finditer(a.content):
            if self.a.section_at(Side.address(a, match.start(1))):
                yield match.start(1), Side.address


def _is_relative_to_rip(modrm: int) -> bool:
    return modrm & 0xC7 == 0x05


def _immediate_behind(code: bytes, at: int) -> int:
    """The size of the immediate operand behind a displacement that is relative to %rip.

    By the opcodes of Intel's manual, volume 2, appendix A; the displacement counts from behind it.
    """
    if at < 2 or not _is_relative_to_rip(code[at - 1]):
        return 0
    opcode, is_test = code[at - 2], code[at - 1] & 0x30 == 0
    if opcode in {0x6B, 0x80, 0x83, 0xC0, 0xC1, 0xC6} or (opcode == 0xF6 and is_test):
        return 1
    if opcode == 0xBA and code[at - 3] == 0x0F:  # bt, bts, btr, btc
        return 1
    if opcode in {0x69, 0x81, 0xC7} or (opcode == 0xF7 and is_test):
        prefix = code[max(at - 4, 0) : at - 2]
        is_16_bits = prefix.endswith(b"\x66") or (prefix[:1] == b"\x66" and prefix[1] & 0xF0 == 0x40)
        return 2 if is_16_bits else 4
    return 0


def _jump_table(binary: Binary, at: int) -> list[Place]:
    """The labels in a function that a jump table at this address has; empty if there is none.

    It ends where a pointer leads elsewhere. One to the start of a function is none of a jump table.
    """
    labels: list[Place] = []
    section = binary.section_at(at)
    if section is None or section.is_code:
        return labels
    while place := binary.code_pointer(at + _POINTER_BYTES * len(labels)):
        first = labels[0] if labels else place
        if not place.offset or {*map(bare, place.names)} != {*map(bare, first.names)}:
            break
        labels.append(place)
    return labels


def _without_padding(code: bytes) -> bytes:
    code = code.rstrip(b"\xcc")
    match = _PADDING.search(code, max(len(code) - _PADDING_BYTES, 0))
    return code[: match.start()] if match else code
