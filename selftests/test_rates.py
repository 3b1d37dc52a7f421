# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told beside flushes: shares of pages, and faults per event."""

from __future__ import annotations

from guestloop.compare.rates import rates_of
from guestloop.results.cells import Cell, Mmu
from guestloop.results.records import Outcome, Round

CELL = Cell("asyncpf", Mmu.TDP, {"load": "read-shared"})


def make_round(event: str = "", counters: dict[str, int] | None = None, **events: int) -> Round:
    return Round(CELL, "x", 1, 1, Outcome.MEASURED, event=event, events=events, counters=counters or {})


def rendered(reference: list[Round], tested: list[Round]) -> list[str]:
    return [rate.render() for rate in rates_of(reference, tested)]


def test_shares_are_of_all_rounds_together() -> None:
    before = [make_round(touched=1000, false_idle=1, untouched=500, false_young=0)]
    after = [make_round(touched=500, false_idle=2, untouched=0, false_young=0) for _ in range(2)]
    assert rendered(before, after) == ["false idle 0.1 % -> 0.4 %", "false young 0.0 % -> -"]


def test_faults_are_per_event() -> None:
    counters = {"pf_fixed": 30, "pf_spurious": 1, "halt_exits": 0}
    one = make_round("page_ready", counters, page_ready=10)
    other = make_round("page_ready", counters, page_ready=20)
    assert rendered([one], [one, other]) == [
        "fixed faults 3.000 -> 2.000",
        "spurious faults 0.100 -> 0.067",
        "halts 0.000 -> 0.000",
    ]


def test_only_where_flushes_are_counted_per_that_event() -> None:
    assert not rendered([make_round("aged_pages", {"pf_fixed": 3}, aged_pages=9, page_ready=2)], [])


def test_what_was_not_read_is_not_zero() -> None:
    read = make_round("page_ready", {"pf_fixed": 3}, page_ready=1)
    unread = make_round("page_ready", {}, page_ready=1)
    assert rendered([read], [read, unread]) == ["fixed faults 3.000 -> -"]
    assert rendered([], []) == []
