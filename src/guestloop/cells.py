"""Which cells there are, and which of them a profile and the command line select."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from guestloop.config import Mmu, Profile, suggest
from guestloop.errors import ConfigError
from guestloop.records import Cell
from guestloop.workloads.catalog import AXES


def all_cells() -> list[Cell]:
    """The full product of every test's axes and the MMU modes; a test's modes follow one another."""
    return [
        Cell(test, mmu, dict(zip(axes, values, strict=True)))
        for test, axes in AXES.items()
        for mmu in Mmu
        for values in product(*axes.values())
    ]


def cell_of(tags: Mapping[str, Iterable[str] | None], mmu: str) -> Cell:
    """The cell that an Avocado test stands for, from its tags.

    Raises ConfigError when the tags name no known test or value.
    """
    tests = [name for name in tags if name in AXES]
    if len(tests) != 1:
        raise ConfigError(
            f"a test must be tagged with one of {', '.join(AXES)}; its tags are {', '.join(sorted(tags))}"
        )
    axes = AXES[tests[0]]
    variant = {axis: next(iter(tags.get(axis) or ()), values[0]) for axis, values in axes.items()}
    for axis, value in variant.items():
        if value not in axes[axis]:
            raise ConfigError(f"unknown {axis} {value!r}", hint=suggest(value, axes[axis], axis))
    return Cell(tests[0], Mmu(mmu), variant)


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
    _known("MMU mode", mmus, [mode.value for mode in Mmu])
    chosen = [cell for cell in all_cells() if _profile_has(profile, cell)]
    narrowed = [
        cell for cell in chosen if (not tests or cell.test in tests) and (not mmus or cell.mmu in mmus)
    ]
    if not narrowed:
        raise ConfigError(
            f"profile {profile.name} has no cell for --tests {','.join(tests) or 'all'} "
            f"--mmu {','.join(mmus) or 'all'}",
            hint="scripts/run --profile lab --list prints every cell",
        )
    left = [cell for cell in all_cells() if cell not in narrowed]
    return Selection(tuple(narrowed), tuple(f"{cell.id}" for cell in left))


def _known(what: str, seen: Sequence[str], allowed: Iterable[str]) -> None:
    names = list(allowed)
    for name in seen:
        if name not in names:
            raise ConfigError(f"unknown {what} {name!r}", hint=suggest(name, names, f"{what}s"))


def _profile_has(profile: Profile, cell: Cell) -> bool:
    return any(_matches(selection, cell) for selection in profile.selections)


def _matches(selection: Mapping[str, tuple[str, ...]], cell: Cell) -> bool:
    have = {"test": cell.test, "mmu": cell.mmu.value, **cell.variant}
    return all(have[axis] in values for axis, values in selection.items())
