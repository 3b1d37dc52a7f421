# SPDX-License-Identifier: GPL-2.0-or-later
"""Which cells are selected for machines of which sizes, and what a selection leaves out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from guestloop.config import load_profiles
from guestloop.ground.errors import ConfigError
from guestloop.results.cells import Cell
from guestloop.results.sizes import SCALES, Sizes
from guestloop.workloads.aging import scene_of
from guestloop.workloads.aging.drivers import DRIVERS
from guestloop.workloads.asyncpf import storm_of
from guestloop.workloads.catalog import AXES, all_cells, cell_of
from guestloop.workloads.migration import trip_of
from guestloop.workloads.selection import _left_out_of, select

STORM = {"load": "read-shared", "way": "pageout", "kvmapf": "on"}
CELLS = [cell for cell in all_cells() if cell.test == "migration"]


@pytest.mark.parametrize("count", [0, 1, 12])
def test_a_dozen_cells_are_named(count: int) -> None:
    assert _left_out_of("migration", {cell.id for cell in CELLS[count:]}) == [
        cell.id for cell in CELLS[:count]
    ]


def test_more_are_counted() -> None:
    (line,) = _left_out_of("migration", {cell.id for cell in CELLS[13:]})
    assert line.startswith(f"13 of {len(CELLS)} cells of migration ")


# --- sizes -----------------------------------------------------------------------------------------

PROFILES = load_profiles(AXES)


def vcpus(cells: Iterable[Cell], test: str) -> set[str]:
    return {cell.variant["vcpus"] for cell in cells if cell.test == test}


@pytest.mark.parametrize(
    ("scale", "storms", "migrations"),
    [
        (1, {"4", "2"}, {"1", "2", "4"}),
        (2, {"8", "4"}, {"1", "4", "8"}),
        (16, {"64", "32"}, {"1", "32", "64"}),
    ],
)
def test_cells_have_as_many_vcpus_as_their_sizes_ask_for(
    scale: int, storms: set[str], migrations: set[str]
) -> None:
    """Twice as many as L1 has CPUs stay twice as many; one stays one."""
    usual, large = select(PROFILES["lab"]), select(PROFILES["lab"], sizes=Sizes.of(scale))
    assert vcpus(large.cells, "asyncpf") == storms and vcpus(large.cells, "migration") == migrations
    ids = [cell.id for cell in large.cells]
    assert len(ids) == len(set(ids)) == len(usual.cells), "no two of them become one"
    assert large.sizes == Sizes.of(scale) and large.left_out == ()
    for before, after in zip(usual.cells, large.cells, strict=True):
        assert (before.test, before.mmu) == (after.test, after.mmu)
        others = {axis: value for axis, value in before.variant.items() if axis != "vcpus"}
        assert others.items() <= after.variant.items()


def test_an_id_names_the_vcpus_unless_they_are_the_usual_ones() -> None:
    ids = {cell.id for cell in select(PROFILES["lab"], sizes=Sizes.of(2)).cells}
    assert {"asyncpf/tdp/read-shared", "asyncpf/tdp/read-shared,vcpus=8"} <= ids
    assert "asyncpf/tdp/read-shared,vcpus=2" not in ids
    assert {"migration/tdp/sweep,vcpus=4", "migration/tdp/sweep,vcpus=8"} <= ids
    assert "migration/tdp/sweep" not in ids, "which has 2"


@pytest.mark.parametrize("scale", SCALES)
def test_a_test_measures_the_cell_that_was_selected(scale: int) -> None:
    """It is given the values of the axes, and makes the cell again."""
    for cell in select(PROFILES["smoke"], sizes=Sizes.of(scale)).cells:
        assert cell_of({cell.test: None}, cell.mmu, cell.variant) == cell
    with pytest.raises(ConfigError, match="unknown vcpus '3'"):
        cell_of({"asyncpf": None}, "tdp", {"vcpus": "3"})


def test_what_is_left_out_is_named_as_it_would_be_measured() -> None:
    taken = {cell.id for cell in CELLS[1:]}
    assert CELLS[0].id == "migration/tdp/sweep"
    assert _left_out_of("migration", taken, Sizes.of(4)) == ["migration/tdp/sweep,vcpus=8"]


def test_a_storm_grows_with_its_l1() -> None:
    usual, large = (storm_of({**STORM, "vcpus": vcpus}, scale) for vcpus, scale in (("4", 1), ("32", 8)))
    assert (usual.mib, usual.ram_mib, usual.vcpus) == (4, 96, 4)
    assert (large.mib, large.ram_mib, large.vcpus) == (32, 768, 32)
    assert replace(large, mib=4, ram_mib=96, vcpus=4) == usual


@pytest.mark.parametrize(
    ("load", "way", "mib", "ram_mib", "pace_us"),
    [
        ("sweep", "precopy", 16, 64, 500),
        ("once", "multifd", 16, 64, 2000),
        ("hot", "precopy", 4, 64, 0),
        ("mix", "ping-pong", 8, 56, 1000),
        ("sweep", "dirty-ring", 16, 64, 200),
    ],
)
def test_a_migration_grows_and_takes_as_long(
    load: str, way: str, mib: int, ram_mib: int, pace_us: int
) -> None:
    """Its load goes over more pages in the same time."""
    cell = cell_of({"migration": None}, "tdp", {"load": load, "way": way, "vcpus": "2"})
    usual, large = trip_of(cell), trip_of(cell, 8)
    assert (usual.mib, usual.ram_mib, usual.pace_us, usual.scale) == (mib, ram_mib, pace_us, 1)
    assert (large.mib, large.ram_mib, large.pace_us) == (8 * mib, 8 * ram_mib, pace_us // 8)
    assert (large.round_s, large.held_rounds, large.scale) == (usual.round_s, usual.held_rounds, 8)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("pages", ["4k", "thp"])
def test_what_is_aged_grows_with_its_l1(driver: str, pages: str) -> None:
    variant = {"driver": driver, "pages": pages, "dirty_log": "off"}
    usual, large = scene_of(variant), scene_of(variant, 16)
    assert (usual.vcpus, large.vcpus) == (2, 32)
    assert (large.sizes.mib, large.sizes.ram_mib) == (16 * usual.sizes.mib, 16 * usual.sizes.ram_mib)
    assert (large.sizes.scans, large.grain) == (usual.sizes.scans, usual.grain)
    assert large.sizes.ram_mib < Sizes.of(16).l1_memory_mib // 4, "L1 has room for it, and for its swapping"
