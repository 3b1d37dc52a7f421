# SPDX-License-Identifier: GPL-2.0-or-later
"""All tests with the axes of their variants, and the cells that these make: profiles select from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from guestloop.ground.errors import ConfigError
from guestloop.ground.hints import suggest
from guestloop.results.cells import Cell, Mmu
from guestloop.results.sizes import SCALES, Sizes, scale_vcpus
from guestloop.workloads import aging, asyncpf, migration

Axes = Mapping[str, tuple[str, ...]]

VCPUS = "vcpus"
"""The axis of an L2's vCPUs. Its values are those of the usual sizes; see ``scaled`` for others."""

AXES: Mapping[str, Axes] = {
    "asyncpf": asyncpf.AXES,
    "aging": aging.AXES,
    "migration": migration.AXES,
}


def all_cells() -> list[Cell]:
    """The full product of every test's axes and the MMU modes, as every host has them."""
    return [make_point(test, values) for test in AXES for values in product(*common_values(test).values())]


def axes_of(test: str) -> Axes:
    """The MMU mode and the axes of a test's variants, with all their values."""
    return {"mmu": tuple(mode.value for mode in Mmu), **AXES[test]}


def common_values(test: str) -> Axes:
    """The same with the values that every host has; others need what only some hardware or KVM has.

    A selection of a profile takes such others where it names them, and not by leaving the axis open.
    """
    return {
        axis: tuple(value for value in values if _is_common(test, axis, value))
        for axis, values in axes_of(test).items()
    }


def _is_common(test: str, axis: str, value: str) -> bool:
    if axis == "mmu":
        return Mmu(value).is_everywhere
    return (test, axis) != ("migration", "way") or migration.WAYS[value].is_everywhere


def special_axes(cell: Cell) -> frozenset[str]:
    """Axes on which a cell is not for every host."""
    values = {"mmu": cell.mmu.value, **cell.variant}
    return frozenset(axis for axis, value in values.items() if not _is_common(cell.test, axis, value))


def make_point(test: str, values: Sequence[str]) -> Cell:
    """The cell with these values on the axes of ``axes_of``."""
    mmu, *variant = values
    return make_cell(test, Mmu(mmu), dict(zip(AXES[test], variant, strict=True)))


def make_cell(test: str, mmu: Mmu, variant: Mapping[str, str]) -> Cell:
    """A cell; further axes at their usual value, which is the first of each, are left out of its name."""
    further = list(AXES[test].items())[1:]
    return Cell(test, mmu, variant, tuple(axis for axis, values in further if variant[axis] == values[0]))


def scaled(cell: Cell, sizes: Sizes) -> Cell:
    """The cell in whose place this one stands on machines of these sizes: it has as many more vCPUs."""
    if VCPUS not in cell.variant:
        return cell
    vcpus = scale_vcpus(int(cell.variant[VCPUS]), sizes.scale)
    return make_cell(cell.test, cell.mmu, {**cell.variant, VCPUS: f"{vcpus}"})


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
        if value not in axes[axis] and not _is_scaled(axis, axes[axis], value):
            raise ConfigError(f"unknown {axis} {value!r}", hint=suggest(value, axes[axis], axis))
    return make_cell(tests[0], Mmu(mmu), variant)


def _is_scaled(axis: str, usual: Sequence[str], value: str) -> bool:
    return axis == VCPUS and value in {f"{scale_vcpus(int(one), scale)}" for one in usual for scale in SCALES}
