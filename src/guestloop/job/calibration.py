# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of the scatter of rounds before a run: from rounds of good kernels of its class."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from guestloop.compare import Calibration, learn
from guestloop.config import REPOSITORY, own_directory
from guestloop.ground.errors import ConfigError
from guestloop.results.good_rounds import (
    SUFFIX,
    GoodRound,
    RunClass,
    by_cell,
    find_good_rounds,
    good_rounds,
    read_good_rounds,
    write_good_rounds,
)
from guestloop.results.plan import read_plan
from guestloop.results.records import read_rounds
from guestloop.results.sizes import USUAL

SHIPPED = REPOSITORY / "docs" / "calibration"


def calibration_directories() -> tuple[Path, ...]:
    """Where rounds of good kernels are looked for: the user's own first, then those that are shipped."""
    own = own_directory()
    return (*([own / "calibration"] if own else []), SHIPPED)


def load_calibration(run_class: RunClass) -> Calibration:
    """That of a class of runs; empty if there is none, and the scatter is then estimated in the run."""
    path = find_good_rounds(run_class, calibration_directories())
    return _learn(path) if path else Calibration()


@cache
def _learn(path: Path) -> Calibration:
    return learn(by_cell(read_good_rounds(path)))


def gather(sittings: Iterable[Path]) -> tuple[RunClass, list[GoodRound]]:
    """The good rounds of runs of kernels against themselves, and their class.

    Raises ConfigError for runs of two classes, and for one of kernels that are not one build.
    """
    classes: dict[RunClass, Path] = {}
    found: list[GoodRound] = []
    for out in sittings:
        plan = read_plan(out)
        if not plan.kernels.are_identical:
            names = ", ".join(plan.kernels.names)
            raise ConfigError(
                f"{out}: {names} are not one build: how rounds scatter is learnt from a kernel against itself"
            )
        classes.setdefault(RunClass.of(plan), out)
        found += good_rounds(out.name, read_rounds(out))
    if len(classes) > 1:
        seen = "; ".join(f"{out}: {one}" for one, out in classes.items())
        raise ConfigError(f"runs of more than one class cannot be joined: {seen}")
    return next(iter(classes)), found


def store(run_class: RunClass, good: Iterable[GoodRound], directory: Path) -> Path:
    """Keep the rounds of a class in a directory, in place of those that it has of this class."""
    path = find_good_rounds(run_class, [directory]) or directory / _file_name(run_class)
    write_good_rounds(path, run_class, good)
    return path


def _file_name(run_class: RunClass) -> str:
    name = f"{run_class.accelerator}-{run_class.l2_base}".replace(" ", "-").replace("/", "-")
    sizes = "" if run_class.sizes == USUAL else f"-x{run_class.sizes.scale}"
    return f"{name}-{run_class.l2_config_sha256[:8]}{sizes}{SUFFIX}"
