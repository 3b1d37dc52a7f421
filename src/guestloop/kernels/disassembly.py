# SPDX-License-Identifier: GPL-2.0-or-later
"""Which function of a module refers to which, from the output of objdump."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

_SECTION = re.compile(r"Disassembly of section (\S+):")
_FUNCTION = re.compile(r"([0-9a-f]+) <([^>]+)>:")
_RELOCATION = re.compile(r"\s+[0-9a-f]+: (R_X86_64_\w+)\s+([^\s+-]+)([+-]0x[0-9a-f]+)?")
# A jump inside of a function shows an offset behind the name, one to another function does not.
_DIRECT = re.compile(r"(?:call|j\w+)\s+[0-9a-f]+ <([^>+]+)>")
_IMMEDIATE = re.compile(r"mov\s+\$(0x[0-9a-f]+),%[er]si$")
_ARGUMENT_REGISTERS = ("%esi", "%rsi")
_RECORDS = re.compile(r"RELOCATION RECORDS FOR \[(\S+)\]:")
_RECORD = re.compile(r"[0-9a-f]+ (R_X86_64_\w+)\s+([^\s+-]+)([+-]0x[0-9a-f]+)?")
_DATA = (".data", ".rodata", ".ref.data", "__ksymtab")
_PC_RELATIVE = frozenset({"R_X86_64_PLT32", "R_X86_64_PC32"})
_OPERAND_BYTES = 4  # a PC-relative operand counts from its own end

OUTSIDE = ""


@dataclass(frozen=True)
class Reference:
    """A function calls another, jumps to it, or takes its address.

    ``function`` is OUTSIDE for one that is exported, or whose address is in data.
    Names are without the suffixes of the compiler (``.isra.0``, ``.part.0``, ``.constprop.0``, ``.cold``).
    ``value`` is the constant in %esi, the second argument, None if it is not known to be one.
    """

    function: str
    target: str
    value: int | None = None


class Disassembly:
    """Reads the output of ``objdump -d -r --no-show-raw-insn`` and of ``objdump -r``, line by line."""

    def __init__(self) -> None:
        self._section, self._function = "", ""
        self._value: int | None = None
        self._functions: dict[str, list[tuple[int, str]]] = {}
        """The functions of each section by address, in ascending order as objdump prints them."""
        self._direct: Reference | None = None
        self._named: list[Reference] = []
        self._located: list[tuple[str, str, int, int | None]] = []
        """References to an address in a section, whose function is found at the end."""

    def line(self, line: str) -> None:
        """Take one line."""
        if line.startswith("\t\t\t"):
            self._relocation(line)
        elif line.startswith(" "):
            self._instruction(line.partition(":\t")[2].rstrip())
        elif match := _FUNCTION.match(line):
            self._begin(int(match[1], 16), match[2])
        elif match := _SECTION.match(line):
            self._section = match[1]

    def record(self, line: str) -> None:
        """Take one line of ``objdump -r``. Only records of data are read, those of code are in the code."""
        if match := _RECORDS.match(line):
            self._section = match[1]
        elif self._section.startswith(_DATA) and (match := _RECORD.match(line)):
            self._refer(OUTSIDE, match[2], int(match[3] or "0", 16))

    def references(self) -> Iterator[Reference]:
        """Yield all references to functions of the module itself and of others."""
        self._settle()
        yield from self._named
        for function, section, address, value in self._located:
            if found := self._find(section, address):
                yield Reference(function, found, value)

    def _begin(self, address: int, symbol: str) -> None:
        self._settle()
        self._function, self._value = _bare(symbol), None
        self._functions.setdefault(self._section, []).append((address, self._function))

    def _instruction(self, text: str) -> None:
        self._settle()
        if match := _DIRECT.match(text):
            self._direct = Reference(self._function, _bare(match[1]), self._value)
        if match := _IMMEDIATE.match(text):
            self._value = int(match[1], 16)
        elif text.endswith(_ARGUMENT_REGISTERS):
            self._value = None

    def _settle(self) -> None:
        """Keep a direct reference once it is known that no relocation follows, which would replace it."""
        if self._direct:
            self._named.append(self._direct)
            self._direct = None

    def _relocation(self, line: str) -> None:
        self._direct = None
        match = _RELOCATION.match(line)
        if not match:
            return
        offset = _OPERAND_BYTES if match[1] in _PC_RELATIVE else 0
        self._refer(self._function, match[2], int(match[3] or "0", 16) + offset)

    def _refer(self, function: str, symbol: str, address: int) -> None:
        """Note a reference to a symbol, or to an address in the section that is given instead of one."""
        value = self._value if function else None
        if symbol.startswith("."):
            self._located.append((function, symbol, address, value))
        else:
            self._named.append(Reference(function, _bare(symbol), value))

    def _find(self, section: str, address: int) -> str:
        functions = self._functions.get(section, [])
        at = bisect_right(functions, (address, "\x7f")) - 1
        return functions[at][1] if at >= 0 else ""


def _bare(symbol: str) -> str:
    return symbol.partition(".")[0]
