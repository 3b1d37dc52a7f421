# SPDX-License-Identifier: GPL-2.0-or-later
"""Which functions differ between the machine code of two kernels, and where they ran."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from guestloop.report.page.matrix import anchor
from guestloop.report.results import KernelResult, Result
from guestloop.results.changes import ChangedFunction
from guestloop.results.reach import NeverRan, Ran, Unproven

MOST_FUNCTIONS = 60
"""A series seldom changes more; verdict.json has all."""


@dataclass(frozen=True)
class Place:
    """A cell in which a function ran, and how often on each kernel, in the order of the run."""

    cell: str
    anchor: str
    hits: tuple[int, ...]


@dataclass(frozen=True)
class FunctionRow:
    """A function that differs; ``where``: ``in both``, or which kernel alone has it."""

    name: str
    module: str
    where: str
    unprobeable: str
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Changed:
    """What a candidate changes in the machine code, and in how many cells what is known of it."""

    candidate: str
    kernels: tuple[str, ...]
    functions: tuple[FunctionRow, ...]
    more: int
    data: tuple[str, ...]
    ran: int
    never: int
    unknown: int
    reasons: tuple[str, ...]


def changed(result: Result) -> tuple[Changed, ...]:
    """For each candidate that is the reference with a series."""
    return tuple(_changed(result, one) for one in result.candidates if one.changes)


def _changed(result: Result, kernel: KernelResult) -> Changed:
    assert kernel.changes
    seen = [cell.candidates[kernel.name].reach for cell in result.cells if kernel.name in cell.candidates]
    functions = kernel.changes.functions
    return Changed(
        candidate=kernel.name,
        kernels=(result.reference, kernel.name),
        functions=tuple(_row(result, kernel.name, one) for one in functions[:MOST_FUNCTIONS]),
        more=max(0, len(functions) - MOST_FUNCTIONS),
        data=kernel.changes.data,
        ran=sum(isinstance(one, Ran) for one in seen),
        never=sum(isinstance(one, NeverRan) for one in seen),
        unknown=sum(not isinstance(one, Ran | NeverRan) for one in seen),
        reasons=tuple(dict.fromkeys(one.why for one in seen if isinstance(one, Unproven))),
    )


def _row(result: Result, candidate: str, one: ChangedFunction) -> FunctionRow:
    where = "in both" if one.reference and one.candidate else "gone" if one.reference else "new"
    places = tuple(_places(result, candidate, one.id))
    return FunctionRow(one.name, one.module, where, one.unprobeable, places)


def _places(result: Result, candidate: str, function: str) -> Iterator[Place]:
    for cell in result.cells:
        reach = cell.candidates[candidate].reach if candidate in cell.candidates else None
        if isinstance(reach, Ran):
            hits = tuple(reach.hits.get(name, {}).get(function, 0) for name in (result.reference, candidate))
            if any(hits):
                yield Place(cell.id, anchor(cell), hits)
