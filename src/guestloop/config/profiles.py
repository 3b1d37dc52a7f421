# SPDX-License-Identifier: GPL-2.0-or-later
"""Profiles: named selections of cells, the shipped ones and the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guestloop.config.kernels import own_directory
from guestloop.config.reading import Section, load_yaml, seen
from guestloop.ground.errors import ConfigError
from guestloop.ground.hints import suggest
from guestloop.results.cells import Mmu


@dataclass(frozen=True)
class Profile:
    """A named selection of cells.

    ``selections``: each maps axes (``test``, ``mmu``, ``load``, ...) to the values taken; a cell is in when
    one of them matches. ``fresh_boots`` boots L1 anew for each round.
    """

    name: str
    description: str
    rounds: int
    fresh_boots: bool
    selections: tuple[Mapping[str, tuple[str, ...]], ...]


def load_profiles(axes: Mapping[str, Mapping[str, tuple[str, ...]]]) -> dict[str, Profile]:
    """The shipped profiles, then the user's own, which may replace them.

    ``axes`` are the axes and values of each test. Raises ConfigError for what they do not have.
    """
    own = own_directory()
    mine = [path for path in [own / "profiles.yaml"] if path.exists()] if own else []
    files = [Path(__file__).with_name("profiles.yaml"), *mine]
    return {
        name: _parse_profile(f"{path}: {name}", name, data, axes)
        for path in files
        for name, data in load_yaml(path).items()
    }


def _parse_profile(
    where: str, name: str, data: object, axes: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> Profile:
    section = Section(where, data, ("description", "rounds", "fresh-boots", "cells"))
    cells = section.data.get("cells")
    if not isinstance(cells, list) or not cells:
        raise ConfigError(f"{where}: cells: a list of selections was wanted, seen: {seen(cells)}")
    return Profile(
        name=name,
        description=section.text("description"),
        rounds=section.number("rounds", 2),
        fresh_boots=section.flag("fresh-boots"),
        selections=tuple(_parse_selection(f"{where}: cells", cell, axes) for cell in cells),
    )


def _parse_selection(
    where: str, data: object, axes: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> dict[str, tuple[str, ...]]:
    test = str(data.get("test")) if isinstance(data, Mapping) else ""
    if test not in axes:
        raise ConfigError(f"{where}: unknown test {test!r}", hint=suggest(test, axes, "tests"))
    allowed = {"mmu": tuple(name for mode in Mmu for name in mode.names), **axes[test]}
    section = Section(where, data, ("test", *allowed))
    chosen: dict[str, tuple[str, ...]] = {"test": (test,)}
    for axis in section.data:
        if axis == "test":
            continue
        chosen[axis] = section.texts(axis)
        for value in chosen[axis]:
            if value not in allowed[axis]:
                hint = suggest(value, allowed[axis], "values")
                raise ConfigError(f"{where}: {axis}: unknown value {value!r}", hint=hint)
    if "mmu" in chosen:
        chosen["mmu"] = tuple(Mmu(name).value for name in chosen["mmu"])
    return chosen
