# SPDX-License-Identifier: GPL-2.0-or-later
"""Which cells a profile and the command line select."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from guestloop.config import Profile
from guestloop.ground.errors import ConfigError
from guestloop.ground.hints import suggest
from guestloop.results.cells import Cell, Mmu
from guestloop.workloads.catalog import AXES, special_axes, with_special_cells

MOST_LEFT_OUT_LINES = 12


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
    everything = with_special_cells()
    narrowed = [
        cell
        for cell in everything
        if (not tests or cell.test in tests) and (not modes or cell.mmu in modes) and _has(profile, cell)
    ]
    if not narrowed:
        raise ConfigError(
            f"profile {profile.name} has no cell for --tests {','.join(tests) or 'all'} "
            f"--mmu {','.join(mmus) or 'all'}",
            hint="scripts/run --profile lab --list prints every cell",
        )
    return Selection(tuple(narrowed), tuple(_left_out(everything, narrowed)))


def _left_out(everything: Sequence[Cell], narrowed: Sequence[Cell]) -> list[str]:
    """A line for each cell, or one for all of a test when there are too many to read.

    Of cells that only some hosts have there is one for all, and only when there is none of them.
    """
    taken = {cell.id for cell in narrowed}
    lines: list[str] = []
    for test in AXES:
        every = [cell.id for cell in everything if cell.test == test and not special_axes(cell)]
        own = [name for name in every if name not in taken]
        if len(own) > MOST_LEFT_OUT_LINES:
            own = [f"{len(own)} of {len(every)} cells of {test} (scripts/run --profile lab --list names all)"]
        lines += own
    special = sorted({_special_name(cell) for cell in everything} - {""})
    if special and not any(map(special_axes, narrowed)):
        lines.append(f"cells of what only some hardware has: {', '.join(special)}")
    return lines


def _special_name(cell: Cell) -> str:
    """The MMU mode or the way that not every host has."""
    values = {"mmu": cell.mmu.value, **cell.variant}
    return next((values[axis] for axis in special_axes(cell)), "")


def _known(what: str, seen: Sequence[str], allowed: Iterable[str]) -> None:
    names = list(allowed)
    for name in seen:
        if name not in names:
            raise ConfigError(f"unknown {what} {name!r}", hint=suggest(name, names, f"{what}s"))


def _has(profile: Profile, cell: Cell) -> bool:
    values = {"test": cell.test, "mmu": cell.mmu.value, **cell.variant}
    special = special_axes(cell)
    return any(special <= own.keys() and _matches(own, values) for own in profile.selections)


def _matches(selection: Mapping[str, tuple[str, ...]], values: Mapping[str, str]) -> bool:
    for axis, wanted in selection.items():  # noqa: SIM110 - twice as fast as all(), and called thousandfold
        if values.get(axis) not in wanted:
            return False
    return True
