# SPDX-License-Identifier: GPL-2.0-or-later
"""What the command line asks for: the options, and the profile, cells and kernels that they name.

``--list`` needs this and nothing else, so nothing that builds, boots or measures is imported here.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from guestloop.config import Change, KernelArgument, Profile, load_argument, load_profiles
from guestloop.ground.errors import ConfigError
from guestloop.ground.hints import suggest
from guestloop.ground.words import file_name
from guestloop.job.sizing import lay_out_run
from guestloop.machines.choice import AUTO, choose, kind_named
from guestloop.machines.host import read_host
from guestloop.machines.kind import MachineKind
from guestloop.machines.layout import Layout
from guestloop.results.provenance import Expectation
from guestloop.results.sizes import USUAL, Sizes
from guestloop.workloads.catalog import AXES
from guestloop.workloads.selection import select


@dataclass(frozen=True)
class Options:
    """What the command line asked for.

    ``kernels`` are named one by one, the reference first; in their place a ``change`` makes its own two.
    ``expect`` is what the candidates are for, beside what their files say. ``rounds`` and ``budget_s`` go
    before what the profile says, and at most one of them is given. So many ``labs`` measure side by side,
    None: one, or as many as before. ``wait`` for a host that another run uses now, rather than end at once;
    ``verbose`` prints every figure. ``arguments`` are the words of the command line, from which these options
    can be made again.
    """

    profile: str = "default"
    kernels: tuple[str, ...] = ("unpatched", "patched")
    change: Change | None = None
    expect: tuple[Expectation, ...] = ()
    tests: tuple[str, ...] = ()
    mmu: tuple[str, ...] = ()
    rounds: int | None = None
    budget_s: float | None = None
    accel: str = AUTO
    labs: int | None = None
    wait: bool = True
    verbose: bool = False
    out: Path | None = None
    arguments: tuple[str, ...] = ()


def chosen_profile(options: Options) -> Profile:
    """The profile, with ``--rounds`` or ``--budget`` in place of its own.

    Raises ConfigError for an unknown one.
    """
    profiles = load_profiles(AXES)
    if options.profile not in profiles:
        hint = suggest(options.profile, profiles, "profiles")
        raise ConfigError(f"unknown profile {options.profile!r}", hint=hint)
    profile = profiles[options.profile]
    if options.rounds:
        return profile.with_rounds(options.rounds)
    return profile.with_budget(options.budget_s) if options.budget_s else profile


def load_kernels(
    names: Sequence[str], named_by: str = "--kernels", example: str = "--kernels unpatched,patched"
) -> tuple[KernelArgument, ...]:
    """The kernels to compare, the reference first; whether those that exist are there is not looked at.

    Raises ConfigError for an unknown one, and for fewer than two: ``named_by`` is where they were named.
    """
    if len(names) < 2:
        raise ConfigError(
            f"{named_by}: two or more kernels were wanted, seen: {','.join(names) or 'none'}",
            hint=f"the first is the reference, for example {example}",
        )
    return tuple(load_argument(name) for name in names)


def labels(specs: Sequence[KernelArgument]) -> tuple[str, ...]:
    """Names of the kernels in the results, which are file names there.

    One that is named again gets a number, as in ``unpatched.2``.
    """
    taken: list[str] = []
    for spec in specs:
        name = file_name(spec.name, "kernel")
        numbered = (f"{name}.{number}" for number in itertools.count(2))
        names = itertools.chain([name], numbered)
        taken.append(next(name for name in names if name not in taken))
    return tuple(taken)


def wanted_layout(options: Options, kind: MachineKind) -> Layout:
    """How a new run is laid out on this machine. Raises ConfigError for labs that there is no room for."""
    profile = chosen_profile(options)
    cells = select(profile, options.tests, options.mmu).cells
    kernels = 2 if options.change else len(options.kernels)
    return lay_out_run(profile, kind, kernels, min(options.labs or 1, len(cells)))


def _expected_sizes(options: Options) -> Sizes:
    """The sizes of a run, as far as they can be told without one."""
    if not chosen_profile(options).host_sizes:
        return USUAL
    kind = choose(read_host()).kind if options.accel == AUTO else kind_named(options.accel)
    return wanted_layout(options, kind).sizes


def list_cells(options: Options) -> list[str]:
    """The cells that would run, a line each; touches nothing."""
    number = 2 if options.change else len(load_kernels(options.kernels))
    profile = chosen_profile(options)
    selection = select(profile, options.tests, options.mmu, _expected_sizes(options))
    first, last = profile.looks[0], profile.looks[-1]
    rounds = f"{first}" if first == last else f"{first} to {last}"
    size = f"x {rounds} rounds x {number} kernels"
    lines = [f"{cell.id}  {size}" for cell in selection.cells]
    return lines + [f"left out: {cell}" for cell in selection.left_out]
