# SPDX-License-Identifier: GPL-2.0-or-later
"""All tests with the axes of their variants, and the cells that these make: profiles select from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product

from guestloop.ground.errors import ConfigError
from guestloop.ground.hints import suggest
from guestloop.results.cells import Cell, Mmu
from guestloop.workloads import aging, asyncpf, migration

Axes = Mapping[str, tuple[str, ...]]

AXES: Mapping[str, Axes] = {
    "asyncpf": asyncpf.AXES,
    "aging": aging.AXES,
    "migration": migration.AXES,
}


def all_cells() -> list[Cell]:
    """The full product of every test's axes and the MMU modes, as every host has them."""
    return [cell for cell in with_special_cells() if not special_axes(cell)]


def with_special_cells() -> list[Cell]:
    """That and the cells that only some hosts have; a test's modes follow one another."""
    return [
        make_cell(test, mmu, dict(zip(axes, values, strict=True)))
        for test, axes in AXES.items()
        for mmu in Mmu
        for values in product(*axes.values())
    ]


def special_axes(cell: Cell) -> frozenset[str]:
    """Axes on which a cell is not for every host: it needs what only some hardware or KVM has.

    A selection of a profile takes such values where it names them, and not by leaving the axis open.
    """
    special = set() if cell.mmu.is_everywhere else {"mmu"}
    if cell.test == "migration" and not migration.WAYS[cell.variant["way"]].is_everywhere:
        special.add("way")
    return frozenset(special)


def make_cell(test: str, mmu: Mmu, variant: Mapping[str, str]) -> Cell:
    """A cell; further axes at their usual value, which is the first of each, are left out of its name."""
    further = list(AXES[test].items())[1:]
    return Cell(test, mmu, variant, tuple(axis for axis, values in further if variant[axis] == values[0]))


def cell_of(
    tags: Mapping[str, Iterable[str] | None], mmu: str, parameters: Mapping[str, str | None] | None = None
) -> Cell:
    """The cell that an Avocado test stands for: from its tags, then its parameters, then what is usual.

    Raises ConfigError when the tags name no known test or value.
    """
    tests = [name for name in tags if name in AXES]
    if len(tests) != 1:
        raise ConfigError(
            f"a test must be tagged with one of {', '.join(AXES)}; its tags are {', '.join(sorted(tags))}"
        )
    axes = AXES[tests[0]]
    given = parameters or {}
    variant = {
        axis: next(iter(tags.get(axis) or ()), given.get(axis) or values[0]) for axis, values in axes.items()
    }
    for axis, value in variant.items():
        if value not in axes[axis]:
            raise ConfigError(f"unknown {axis} {value!r}", hint=suggest(value, axes[axis], axis))
    return make_cell(tests[0], Mmu(mmu), variant)
