# SPDX-License-Identifier: GPL-2.0-or-later
"""What L1 believes about pages, against what was touched: the arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestloop.ground.errors import GuestError
from guestloop.results.cells import Cell, Mmu
from guestloop.results.findings import FindingKind
from guestloop.workloads.aging.beliefs import (
    Belief,
    Share,
    judge_evicted,
    judge_idle,
    judge_samples,
    judge_taken,
    parse_frames,
)
from guestloop.workloads.aging.driver import Driver
from guestloop.workloads.aging.drivers.mglru import Mglru
from guestloop.workloads.aging.drivers.page_idle import PageIdle
from guestloop.workloads.aging.round import sum_of_acted
from guestloop.workloads.measuring import Measuring


def test_shares_take_turns_and_have_a_grain() -> None:
    assert Share(1).touches(range(4)) == [False, True, False, True]
    assert Share(0, grain=2).touches(range(6)) == [True, True, False, False, True, True]
    assert Share(1, grain=512).words == "part=1 parts=2 grain=512"


@pytest.mark.parametrize(
    ("idle", "belief"),
    [
        ("0101", Belief(2, 0, 2, 0, 0, 4)),
        ("1111", Belief(2, 2, 2, 0, 0, 4)),  # never young
        ("0000", Belief(2, 0, 2, 2, 0, 4)),  # young for ever
        ("1010", Belief(2, 2, 2, 2, 0, 4)),
        ("0-01", Belief(2, 0, 1, 0, 1, 3)),  # one moved
        ("----", Belief(unknown=4)),
    ],
)
def test_idle_flags(idle: str, belief: Belief) -> None:
    assert judge_idle(Share(0), idle) == belief
    assert judge_evicted(Share(0), idle) == belief, "MGLRU evicts what it takes for idle"


def test_rates() -> None:
    belief = Belief(touched=200, false_idle=10, untouched=50, false_young=5)
    assert (belief.idle_rate, belief.young_rate) == (0.05, 0.1)
    assert (Belief().idle_rate, Belief().young_rate) == (0.0, 0.0)
    assert belief + Belief(1, 1, 1, 1, 1, 2) == Belief(201, 11, 51, 6, 1, 2)


@pytest.mark.parametrize(
    ("before", "after", "belief"),
    [
        ("000000", "010100", Belief(3, 0, 2, 0, 0, 6)),  # two untouched ones were asked for and went
        ("000000", "100100", Belief(3, 1, 2, 1, 0, 6)),  # a touched one went in place of one
        ("000000", "000000", Belief(3, 0, 2, 2, 0, 6)),  # reclaim found no page idle
        ("010000", "010101", Belief(3, 0, 2, 0, 1, 5)),  # one was out before
        ("010101", "010101", Belief(3, 0, 0, 0, 3, 3)),  # nothing was left to take: nothing can be said
    ],
)
def test_what_reclaim_took(before: str, after: str, belief: Belief) -> None:
    assert judge_taken(Share(0), before, after, asked=2) == belief


def test_samples_of_damon() -> None:
    seen = [5, 0, 3, 1, -1, 9]
    assert judge_samples(Share(0), seen, 5) == Belief(
        touched=10, false_idle=2, untouched=15, false_young=6, unknown=5, looked_at=5
    )


def test_frames_of_the_payload() -> None:
    lines = ["progress reads=1", "frames at=0 runs=5+2", "frames at=2 runs=9+1", "where pages=3"]
    assert parse_frames(lines) == lines[1:3]
    with pytest.raises(GuestError, match="no page frames"):
        parse_frames(["where pages=0"])


# --- scans in which the driver did nothing -----------------------------------------------------------


NOTHING_TAKEN = Belief(touched=8, untouched=8, false_young=8, looked_at=16)
ALL_TAKEN = Belief(touched=8, untouched=8, looked_at=16)


def summed(tmp_path: Path, driver: Driver, *beliefs: Belief) -> tuple[Belief, list[FindingKind]]:
    this = Measuring(Cell("aging", Mmu.DIRECT, {}), "patched", 1, tmp_path)
    total = sum_of_acted(this, driver, beliefs)
    return total, [finding.kind for finding in this.findings]


def test_a_scan_in_which_mglru_evicts_nothing_says_nothing_about_use(tmp_path: Path) -> None:
    seen = summed(tmp_path, Mglru(), ALL_TAKEN, NOTHING_TAKEN, ALL_TAKEN)
    assert seen == (ALL_TAKEN + ALL_TAKEN, [FindingKind.NOT_PROVEN])


def test_to_a_kernel_that_takes_all_pages_for_young_every_scan_counts(tmp_path: Path) -> None:
    total, kinds = summed(tmp_path, Mglru(), NOTHING_TAKEN, NOTHING_TAKEN)
    assert total.young_rate == 1.0 and kinds == []


def test_other_drivers_act_in_every_scan(tmp_path: Path) -> None:
    total, kinds = summed(tmp_path, PageIdle(), ALL_TAKEN, NOTHING_TAKEN)
    assert total.young_rate == 0.5 and kinds == []
