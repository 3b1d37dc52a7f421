# SPDX-License-Identifier: GPL-2.0-or-later
"""Which functions differ in their machine code between two builds, and which data.

A function is all that the compiler made of it: ``foo``, ``foo.constprop.0``, ``foo.part.0`` and ``foo.cold``
are one. Where it is inlined, its callers differ. What belongs to the code of a function but is kept in tables
(the code that replaces it on some CPUs, its faults that are handled, its warnings) is compared with it, line
numbers left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guestloop.cache import Cache
from guestloop.ground.codec import decode, encode
from guestloop.ground.log import step
from guestloop.kernels.artifacts import SYSTEM_MAP, Kernel
from guestloop.kernels.binary import Binary, Piece, bare, read_module, read_vmlinux
from guestloop.kernels.modules import canonical
from guestloop.kernels.sameness import Pair
from guestloop.kernels.tables import TABLES, read_records, records_alike
from guestloop.results.changes import VMLINUX, ChangedFunction, Changes

KIND, FILE = "changes", "changes.json"
# Part of every key. Increase it when the same builds are compared in another way.
RECIPE = 1

Pieces = Mapping[str, list[Piece]]

# Code that runs when a module is loaded, or the kernel boots: before anything can watch it.
_AT_LOAD = (".init.text", ".exit.text")
# Read with the function that they belong to.
_NO_FUNCTIONS = frozenset({".altinstr_replacement", ".altinstr_aux"})
# What changes with every build, what is derived from code that is compared, and what only names things.
_NO_DATA = (
    ".note",
    ".modinfo",
    ".gnu.linkonce.this_module",
    "__versions",
    "__version_ext",
    "__ksymtab",
    "__kcrctab",
    ".BTF",
    ".smp_locks",
    ".retpoline_sites",
    ".return_sites",
    ".call_sites",
    ".ibt_endbr",
    "__mcount_loc",
    "__patchable_function_entries",
    ".orc_",
    "__dyndbg",
    *TABLES,
)
_NO_SYMBOLS = ("kallsyms_", "linux_banner", "linux_proc_banner", "init_uts_ns", "vmlinux_build_id")
_ORDINARY_DATA = (".data", ".rodata", ".ref.data", ".init.data", ".exit.data")


def find_changes(reference: Kernel, candidate: Kernel, cache: Cache) -> Changes:
    """Return what differs between two kernels that were built here, from the cache if it was found before.

    It takes about a second for KVM's modules, and ten for a vmlinux that differs. Raises ConfigError for a
    kernel without symbols.
    """
    inputs = {
        "recipe": RECIPE,
        "reference": dict(reference.build_ids),
        "candidate": dict(candidate.build_ids),
    }

    def make(into: Path) -> None:
        with step(f"comparing the machine code of {reference.name} and {candidate.name}"):
            found = _compare(reference, candidate)
        (into / FILE).write_text(json.dumps(encode(found), indent=1) + "\n")

    entry = cache.obtain(KIND, inputs, make)
    return decode(Changes, json.loads((entry / FILE).read_text()))


def _compare(reference: Kernel, candidate: Kernel) -> Changes:
    functions: list[ChangedFunction] = []
    data: list[str] = []
    for name in sorted({*reference.build_ids, *candidate.build_ids}):
        if reference.build_ids.get(name) == candidate.build_ids.get(name):
            continue
        module = canonical(name)
        if name not in reference.build_ids or name not in candidate.build_ids:
            data.append(f"{module}: only one of the builds has it")
            continue
        found = compare_binaries(_read(reference, name), _read(candidate, name))
        functions += (_changed_function(module, *each) for each in found.functions.items())
        data += (f"{module}:{symbol}" for symbol in found.data)
    return Changes(tuple(functions), tuple(data))


def _read(kernel: Kernel, name: str) -> Binary:
    if name == VMLINUX:
        return read_vmlinux(kernel.image, kernel.directory / SYSTEM_MAP)
    return read_module(kernel.modules[name])


def _changed_function(
    module: str, name: str, pieces: tuple[Sequence[Piece], Sequence[Piece]]
) -> ChangedFunction:
    reference, candidate = (tuple(piece.symbol for piece in of if not _is_cold(piece)) for of in pieces)
    why = ""
    if any(piece.section.name.startswith(_AT_LOAD) for of in pieces for piece in of):
        why = "it runs when its module is loaded or removed, or at boot"
    elif bool(pieces[0]) != bool(reference) or bool(pieces[1]) != bool(candidate):
        why = "it has no symbol where it begins"
    elif any(len({*symbols}) < len(symbols) for symbols in (reference, candidate)):
        why = "several functions of its module have its name"
    return ChangedFunction(module, name, reference, candidate, why)


def _is_cold(piece: Piece) -> bool:
    """The part of a function that the compiler holds for unlikely: it is jumped to from the function."""
    return ".cold" in piece.name


@dataclass(frozen=True)
class Difference:
    """What differs: pieces of code by function, those of the first build and of the second, and data."""

    functions: Mapping[str, tuple[tuple[Piece, ...], tuple[Piece, ...]]]
    data: tuple[str, ...]


def compare_binaries(a: Binary, b: Binary) -> Difference:
    """Compare two builds of a module, or of the kernel."""
    pair = Pair(a, b)
    code_a, code_b = _by_name(_code(a)), _by_name(_code(b))
    names = {bare(name) for name in _changed(pair, code_a, code_b)}
    names |= {bare(name) for name in _changed_by_tables(pair)}
    functions = {name: (_of_function(name, code_a), _of_function(name, code_b)) for name in sorted(names)}
    return Difference(functions, tuple(_changed_data(pair)))


def _changed(pair: Pair, a: Pieces, b: Pieces) -> Iterator[str]:
    for name in a.keys() | b.keys():
        of_a, of_b = a.get(name, []), b.get(name, [])
        if len(of_a) != len(of_b) or not all(map(pair.is_same, of_a, of_b)):
            yield name


def _changed_by_tables(pair: Pair) -> Iterator[str]:
    a, b = read_records(pair.a), read_records(pair.b)
    for name in a.keys() | b.keys():
        if not records_alike(pair, a.get(name, []), b.get(name, [])):
            yield name


def _changed_data(pair: Pair) -> Iterator[str]:
    a, b = _by_name(_data(pair.a)), _by_name(_data(pair.b))
    for name in sorted(a.keys() | b.keys()):
        of_a, of_b = a.get(name, []), b.get(name, [])
        if len(of_a) == len(of_b):
            same = all(map(pair.is_same, of_a, of_b))
        else:
            # Only code or data that has changed refers to what is new, unless the kernel goes through all
            # that is in a section.
            same = all(piece.section.name.startswith(_ORDINARY_DATA) for piece in (*of_a, *of_b))
        if not same:
            yield name


def _code(binary: Binary) -> Iterator[Piece]:
    return (
        piece for piece in binary.pieces if piece.section.is_code and piece.section.name not in _NO_FUNCTIONS
    )


def _data(binary: Binary) -> Iterator[Piece]:
    return (
        piece
        for piece in binary.pieces
        if not piece.section.is_code
        and not piece.section.is_literals
        and not piece.section.name.startswith(_NO_DATA)
        and not piece.name.startswith(_NO_SYMBOLS)
    )


def _by_name(pieces: Iterable[Piece]) -> dict[str, list[Piece]]:
    named: dict[str, list[Piece]] = {}
    for piece in pieces:
        named.setdefault(piece.name, []).append(piece)
    return named


def _of_function(name: str, pieces: Pieces) -> tuple[Piece, ...]:
    return tuple(piece for found, of in pieces.items() if bare(found) == name for piece in of)
