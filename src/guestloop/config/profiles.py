# SPDX-License-Identifier: GPL-2.0-or-later
"""Profiles: named selections of cells, the shipped ones and the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from guestloop.config.durations import parse_duration
from guestloop.config.kernels import own_directory
from guestloop.config.reading import Section, load_yaml, seen
from guestloop.ground.errors import ConfigError
from guestloop.ground.hints import suggest
from guestloop.results.cells import Mmu
from guestloop.results.plan import check_looks

FLAGS = ("fresh-boots", "correctness-only", "host-sizes")
PROFILE_KEYS = ("description", "rounds", "looks", "budget", *FLAGS, "cells")
DEFAULT_LOOKS = (1, 2, 4, 8)
"""The looks of a profile that has a fixed number of rounds, when a budget is given."""


@dataclass(frozen=True)
class Profile:
    """A named selection of cells.

    ``selections``: each maps axes (``test``, ``mmu``, ``load``, ...) to the values taken; a cell is in when
    one of them matches. ``looks`` and ``budget_s`` are those of a plan (results/plan.py); one look is a fixed
    number of rounds. ``fresh_boots`` boots L1 anew for each round. ``correctness_only`` is that of a plan.
    ``host_sizes``: on hardware, L1s are as large as the host permits, and L2s and regions grow with them.
    """

    name: str
    description: str
    looks: tuple[int, ...]
    fresh_boots: bool
    selections: tuple[Mapping[str, tuple[str, ...]], ...]
    budget_s: float | None = None
    correctness_only: bool = False
    host_sizes: bool = False

    def with_rounds(self, rounds: int) -> Profile:
        """The same with a fixed number of rounds."""
        return replace(self, looks=(rounds,), budget_s=None)

    def with_budget(self, seconds: float) -> Profile:
        """The same with a budget, and in looks if it has none: a fixed number of rounds takes its time."""
        looks = self.looks if len(self.looks) > 1 else DEFAULT_LOOKS
        return replace(self, looks=looks, budget_s=seconds)


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
    section = Section(where, data, PROFILE_KEYS)
    cells = section.data.get("cells")
    if not isinstance(cells, list) or not cells:
        raise ConfigError(f"{where}: cells: a list of selections was wanted, seen: {seen(cells)}")
    return Profile(
        name=name,
        description=section.text("description"),
        looks=_parse_looks(section),
        fresh_boots=section.flag("fresh-boots"),
        selections=tuple(_parse_selection(f"{where}: cells", cell, axes) for cell in cells),
        budget_s=_parse_budget(section),
        correctness_only=section.flag("correctness-only"),
        host_sizes=section.flag("host-sizes"),
    )


def _parse_looks(section: Section) -> tuple[int, ...]:
    """``rounds`` is a fixed number, ``looks`` are several; a profile has one of both."""
    if "looks" not in section.data:
        return (section.number("rounds", 2),)
    if "rounds" in section.data:
        raise ConfigError(
            f"{section.where}: rounds and looks exclude each other",
            hint="rounds is a fixed number, looks are the numbers after which cells are judged",
        )
    looks = section.numbers("looks")
    try:
        check_looks(looks)
    except ValueError as error:
        raise ConfigError(f"{section.where}: looks: {error}", hint="for example [1, 2, 4, 8]") from None
    return looks


def _parse_budget(section: Section) -> float | None:
    if "budget" not in section.data:
        return None
    if "looks" not in section.data:
        raise ConfigError(
            f"{section.where}: budget: there are no looks that it could end",
            hint="looks: [1, 2, 4, 8] in place of rounds",
        )
    return parse_duration(f"{section.where}: budget", section.text("budget"))


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
