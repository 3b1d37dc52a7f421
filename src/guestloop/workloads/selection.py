"""Which cells there are, and which of them a profile and the command line select."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from guestloop.config import Profile, suggest
from guestloop.ground.errors import ConfigError
from guestloop.results.cells import Cell, Mmu
from guestloop.workloads.catalog import AXES

MOST_LEFT_OUT_LINES = 12


def all_cells() -> list[Cell]:
    """The full product of every test's axes and the MMU modes; a test's modes follow one another."""
    return [
        make_cell(test, mmu, dict(zip(axes, values, strict=True)))
        for test, axes in AXES.items()
        for mmu in Mmu
        for values in product(*axes.values())
    ]


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


@dataclass(frozen=True)
class Selection:
    """The cells of a run, and what was left out of the full product, one line each."""

    cells: tuple[Cell, ...]
    left_out: tuple[str, ...]


def select(profile: Profile, tests: Sequence[str] = (), mmus: Sequence[str] = ()) -> Selection:
    """Cells that the profile selects, narrowed to ``tests`` and ``mmus`` (empty: all).

    Raises ConfigError for names that do not exist, and when nothing is left.
    """
    _known("test", tests, AXES)
    _known("MMU mode", mmus, [name for mode in Mmu for name in mode.names])
    modes = {Mmu(name) for name in mmus}
    chosen = [cell for cell in all_cells() if _profile_has(profile, cell)]
    narrowed = [
        cell for cell in chosen if (not tests or cell.test in tests) and (not modes or cell.mmu in modes)
    ]
    if not narrowed:
        raise ConfigError(
            f"profile {profile.name} has no cell for --tests {','.join(tests) or 'all'} "
            f"--mmu {','.join(mmus) or 'all'}",
            hint="scripts/run --profile lab --list prints every cell",
        )
    left = [cell for cell in all_cells() if cell not in narrowed]
    return Selection(tuple(narrowed), tuple(_summarise(left)))


def _summarise(cells: Sequence[Cell]) -> list[str]:
    """A line for each cell, or one for all of a test when there are too many to read."""
    lines: list[str] = []
    for test in AXES:
        own = [cell.id for cell in cells if cell.test == test]
        if len(own) > MOST_LEFT_OUT_LINES:
            every = sum(cell.test == test for cell in all_cells())
            own = [f"{len(own)} of {every} cells of {test} (scripts/run --profile lab --list names all)"]
        lines += own
    return lines


def _known(what: str, seen: Sequence[str], allowed: Iterable[str]) -> None:
    names = list(allowed)
    for name in seen:
        if name not in names:
            raise ConfigError(f"unknown {what} {name!r}", hint=suggest(name, names, f"{what}s"))


def _profile_has(profile: Profile, cell: Cell) -> bool:
    return any(_matches(selection, cell) for selection in profile.selections)


def _matches(selection: Mapping[str, tuple[str, ...]], cell: Cell) -> bool:
    have = {"test": cell.test, "mmu": cell.mmu.value, **cell.variant}
    return all(have.get(axis) in values for axis, values in selection.items())
