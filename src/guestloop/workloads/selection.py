# SPDX-License-Identifier: GPL-2.0-or-later
"""Which cells a profile and the command line select."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import product

from guestloop.config import Profile
from guestloop.ground.errors import ConfigError
from guestloop.ground.hints import suggest
from guestloop.results.cells import Cell, Mmu
from guestloop.results.sizes import USUAL, Sizes
from guestloop.workloads.catalog import AXES, axes_of, common_values, make_point, scaled, special_axes

MOST_LEFT_OUT_LINES = 12


@dataclass(frozen=True)
class Selection:
    """The cells of a run, and what was left out of the full product, one line each, for machines of sizes."""

    cells: tuple[Cell, ...]
    left_out: tuple[str, ...]
    sizes: Sizes = USUAL


def select(
    profile: Profile, tests: Sequence[str] = (), mmus: Sequence[str] = (), sizes: Sizes = USUAL
) -> Selection:
    """Cells that the profile selects, narrowed to ``tests`` and ``mmus`` (empty: all), for these sizes.

    Raises ConfigError for names that do not exist, and when nothing is left.
    """
    _known("test", tests, AXES)
    _known("MMU mode", mmus, [name for mode in Mmu for name in mode.names])
    modes = {Mmu(name) for name in mmus}
    narrowed = [
        cell
        for test in (name for name in AXES if not tests or name in tests)
        for cell in (make_point(test, values) for values in _points(profile, test))
        if not modes or cell.mmu in modes
    ]
    if not narrowed:
        raise _nothing(profile, tests, mmus)
    cells = tuple(scaled(cell, sizes) for cell in narrowed)
    return Selection(cells, tuple(_left_out(narrowed, sizes)), sizes)


def count_cells(profile: Profile) -> int:
    """The number of cells that a profile selects. Raises ConfigError when it has none."""
    number = sum(len(_points(profile, test)) for test in AXES)
    if not number:
        raise _nothing(profile)
    return number


def _nothing(profile: Profile, tests: Sequence[str] = (), mmus: Sequence[str] = ()) -> ConfigError:
    return ConfigError(
        f"profile {profile.name} has no cell for --tests {','.join(tests) or 'all'} "
        f"--mmu {','.join(mmus) or 'all'}",
        hint="scripts/run --profile lab --list prints every cell",
    )


def _points(profile: Profile, test: str) -> list[tuple[str, ...]]:
    """The values on each axis of the cells of a test that the profile has, in the order of the axes'."""
    axes, common = axes_of(test), common_values(test)

    def values(selected: Mapping[str, tuple[str, ...]], axis: str) -> Iterable[str]:
        return set(axes[axis]).intersection(selected[axis]) if axis in selected else common[axis]

    found = {
        point
        for selected in profile.selections
        if test in selected.get("test", AXES) and selected.keys() <= {"test", *axes}
        for point in product(*(values(selected, axis) for axis in axes))
    }
    order = [{value: at for at, value in enumerate(row)} for row in axes.values()]
    return sorted(found, key=lambda point: [place[value] for place, value in zip(order, point, strict=True)])


def _left_out(narrowed: Sequence[Cell], sizes: Sizes) -> list[str]:
    """A line for each cell, or one for all of a test when there are too many to read.

    Of cells that only some hosts have there is one for all, and only when there is none of them.
    """
    common = [cell for cell in narrowed if not special_axes(cell)]
    lines = [
        line
        for test in AXES
        for line in _left_out_of(test, {cell.id for cell in common if cell.test == test}, sizes)
    ]
    names = {
        value
        for test in AXES
        for axis, usual in common_values(test).items()
        for value in set(axes_of(test)[axis]).difference(usual)
    }
    if names and len(common) == len(narrowed):
        lines.append(f"cells of what only some hardware has: {', '.join(sorted(names))}")
    return lines


def _left_out_of(test: str, taken: Set[str], sizes: Sizes = USUAL) -> list[str]:
    """``taken`` are ids of cells of the usual sizes."""
    common = common_values(test).values()
    every = math.prod(map(len, common))
    if every - len(taken) > MOST_LEFT_OUT_LINES:
        counts = f"{every - len(taken)} of {every} cells of {test}"
        return [f"{counts} (scripts/run --profile lab --list names all)"]
    every_cell = (make_point(test, values) for values in product(*common))
    return [scaled(cell, sizes).id for cell in every_cell if cell.id not in taken]


def _known(what: str, seen: Sequence[str], allowed: Iterable[str]) -> None:
    names = list(allowed)
    for name in seen:
        if name not in names:
            raise ConfigError(f"unknown {what} {name!r}", hint=suggest(name, names, f"{what}s"))
