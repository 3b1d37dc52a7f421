# SPDX-License-Identifier: GPL-2.0-or-later
"""On 2 cores a run is what it was before sizes followed the machine: the same cells, guests and figures.

data/two-cores.txt was recorded then. The command lines of L1 and L2 are in data/argv.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hosts
import pytest

from guestloop.config import Profile, load_profiles
from guestloop.job import sizing
from guestloop.job.sizing import lay_out_run
from guestloop.machines.choice import KINDS
from guestloop.machines.kind import MachineKind
from guestloop.machines.room import read_room
from guestloop.results.cells import Cell
from guestloop.results.sizes import Sizes
from guestloop.vm.argv import L2Spec, l2_argv
from guestloop.workloads.aging import scene_of
from guestloop.workloads.asyncpf import storm_of
from guestloop.workloads.catalog import AXES
from guestloop.workloads.migration import trip_of
from guestloop.workloads.selection import select

RECORDED = Path(__file__).parent / "data" / "two-cores.txt"


def figures(cell: Cell, scale: int) -> tuple[L2Spec, str]:
    """The L2 of a cell, and what its load is told."""
    match cell.test:
        case "asyncpf":
            storm = storm_of(cell.variant, scale)
            said = f"region {storm.mib} MiB, {storm.cycles} cycles, window {storm.window}"
            return storm.guest("a"), said
        case "migration":
            trip = trip_of(cell, scale)
            said = f"region {trip.mib} MiB, {trip.pace_us} us a page, rounds of {trip.round_s} s"
            return trip.guest("a"), said
        case _:
            scene = scene_of(cell.variant, scale)
            return scene.guest("a"), f"region {scene.sizes.mib} MiB, {scene.sizes.scans} scans"


def describe(cell: Cell, scale: int) -> tuple[str, str]:
    """The name of a cell without its mode, and its guest."""
    spec, told = figures(cell, scale)
    argv = l2_argv(spec)
    smp, memory = argv[argv.index("-smp") + 1], argv[argv.index("-m") + 1]
    test, _, rest = cell.id.split("/", 2)
    return f"{test}/{rest}", f"-smp {smp} -m {memory}; {told}"


def render(profile: Profile, sizes: Sizes) -> Iterator[str]:
    """The cells of a profile; those that differ in their mode alone share a line."""
    selection = select(profile, sizes=sizes)
    yield f"== {profile.name}: {len(selection.cells)} cells"
    yield from (f"left out: {line}" for line in selection.left_out)
    rows: dict[tuple[str, str], list[str]] = {}
    for cell in selection.cells:
        rows.setdefault(describe(cell, sizes.scale), []).append(cell.mmu.value)
    for (name, guest), modes in rows.items():
        yield f"{name} [{' '.join(modes)}]: {guest}"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_cell_and_guest_is_as_recorded(
    kind: MachineKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    root = hosts.lay("vm-without", tmp_path)
    monkeypatch.setattr(sizing, "read_room", lambda: read_room(root))
    seen = [
        line
        for profile in load_profiles(AXES).values()
        for line in render(profile, lay_out_run(profile, kind, kernels=2, labs=1).sizes)
    ]
    assert seen == RECORDED.read_text().splitlines()


def test_what_is_recorded_is_all_of_the_profiles() -> None:
    heads = [line for line in RECORDED.read_text().splitlines() if line.startswith("== ")]
    assert [head.split()[1] for head in heads] == ["smoke:", "default:", "lab:"]
