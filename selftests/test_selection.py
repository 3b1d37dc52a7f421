# SPDX-License-Identifier: GPL-2.0-or-later
"""What a selection leaves out is listed as far as anybody would read it."""

from __future__ import annotations

import pytest

from guestloop.workloads.catalog import all_cells
from guestloop.workloads.selection import _left_out_of

CELLS = [cell for cell in all_cells() if cell.test == "migration"]


@pytest.mark.parametrize("count", [0, 1, 12])
def test_a_dozen_cells_are_named(count: int) -> None:
    assert _left_out_of("migration", {cell.id for cell in CELLS[count:]}) == [
        cell.id for cell in CELLS[:count]
    ]


def test_more_are_counted() -> None:
    (line,) = _left_out_of("migration", {cell.id for cell in CELLS[13:]})
    assert line.startswith(f"13 of {len(CELLS)} cells of migration ")
