# SPDX-License-Identifier: GPL-2.0-or-later
"""The oracles of a migration: RAM compared from outside on canned answers, and the payload's own check."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from scripted.kernel import render_hits, render_msr_writes
from test_migration_pure import AREAS, EXPLAINED, changed
from test_migration_stamps import LAYOUT, content_of

from guestloop.agent.ram import Compared
from guestloop.ground.errors import GuestError
from guestloop.ground.units import PAGE
from guestloop.lab.client import L2
from guestloop.results.cells import Cell, Mmu
from guestloop.results.findings import FindingKind
from guestloop.results.records import Correctness
from guestloop.workloads.measuring import Measuring
from guestloop.workloads.memory import check_contents
from guestloop.workloads.migration.explained import Area
from guestloop.workloads.migration.ledger import Entry
from guestloop.workloads.migration.oracles import (
    Difference,
    Known,
    compare_ram,
    read_areas,
    render_lost,
    rounds_of,
)
from guestloop.workloads.migration.stamps import visit_order


class World:
    """The L1, its agent and the destination in it at once, with canned answers."""

    def __init__(
        self,
        compared: Compared | None = None,
        threads: Sequence[int] = (),
        histograms: dict[str, str] | None = None,
        lines: Sequence[str] = (),
    ) -> None:
        self.l1 = self.agent = self.migration = self.trace = self
        self._compared, self._threads, self._lines = compared, threads, lines
        self._histograms = histograms or {}

    def compare(self) -> Compared:
        assert self._compared
        return self._compared

    def read(self) -> dict[str, str]:
        return self._histograms

    def qmp(self, command: str) -> Any:
        assert command == "query-cpus-fast"
        return [{"thread-id": thread, "cpu-index": at} for at, thread in enumerate(self._threads)]

    def command(self, line: str, until: str) -> list[str]:
        assert (line, until) == ("check", "checked")
        return list(self._lines)


@pytest.fixture
def this(tmp_path: Path) -> Measuring:
    cell = Cell("migration", Mmu.TDP, {"load": "sweep"})
    return Measuring(cell, "patched", 1, tmp_path / "evidence")


FACTS = ("ram_compare_s", "ram_explained")
ORDER = visit_order(LAYOUT)
# v0 has been over all pages once and over 4 of them again; v1 has visited 12 pages.
KNOWN = Known(
    LAYOUT,
    [Entry(1.0, (8, 4), 0, 0), Entry(2.0, (16, 8), 0, 0), Entry(3.0, (20, 12), 0, 0)],
    {"round-1": 0.5, "round-2": 1.5, "round-3": 2.5},
)


def lost_page(source: tuple[int, ...], destination: tuple[int, ...], order: int = 3) -> Difference:
    page = ORDER[order]
    return Difference(page, content_of(LAYOUT, page, *source), content_of(LAYOUT, page, *destination))


@pytest.mark.parametrize(
    ("source", "destination", "order", "rounds"),
    [
        ((2, 1), (1, 1), 3, ["v0 wrote it in round-3"]),  # visit 16 + 4
        ((2, 1), (2, 0), 3, ["v1 wrote it in round-1"]),  # visit 4
        ((2, 1), (0, 0), 3, ["v0 wrote it in round-3", "v1 wrote it in round-1"]),
        ((2, 0), (1, 0), 4, ["v0 wrote it after the last report"]),  # visit 16 + 5
        ((1, 0), (0, 0), 7, ["v0 wrote it in round-1"]),  # visit 8
        ((1, 0), (0, 0), 8, ["v0 wrote it in round-2"]),  # visit 9
        ((0, 0), (1, 0), 3, []),  # nothing was written that could be missing
        ((1, 1), (1, 1), 3, []),
    ],
)
def test_when_what_is_missing_was_written(
    source: tuple[int, ...], destination: tuple[int, ...], order: int, rounds: list[str]
) -> None:
    assert list(rounds_of(lost_page(source, destination, order), KNOWN)) == rounds


def test_lost_pages_for_a_reader() -> None:
    item = lost_page((2, 1), (1, 1))
    address, number = LAYOUT.gva + item.number * PAGE, item.number
    alien = Difference(99, bytes(PAGE), changed(0))
    where = f"page {number} of the load ({address:#x})"
    assert render_lost([item, alien], KNOWN) == [
        f"{number * PAGE:#x}: source {where}: v0 generation 2, v1 generation 1, "
        f"destination {where}: v0 generation 1, v1 generation 1; v0 wrote it in round-3",
        "0x63000: source no page of the load, destination no page of the load",
    ]


def comparing(*items: Difference, more: int = 0) -> L2:
    """Both RAM files were compared; of ``more`` pages that differ the contents are not reported."""
    contents = [(b64encode(item.source).decode(), b64encode(item.destination).decode()) for item in items]
    differing = [*(item.number for item in items), *range(5000, 5000 + more)]
    return cast(L2, World(Compared(24576, differing, contents)))


def kinds(this: Measuring) -> list[FindingKind]:
    return [finding.kind for finding in this.findings]


def correctness(this: Measuring) -> Correctness:
    return this.finish().correctness


def test_equal_ram(this: Measuring) -> None:
    for _ in range(2):  # once a hop
        compare_ram(this, comparing(), AREAS, KNOWN)
    assert (this.events["pages_compared"], this.events["pages_lost"]) == (2 * 24576, 0)
    assert this.facts["ram_explained"] == "nothing" and float(this.facts["ram_compare_s"]) < 1
    assert (correctness(this), kinds(this), this.evidence) == (Correctness.PASS, [], [])


def test_what_kvm_wrote_is_not_lost(this: Measuring) -> None:
    compare_ram(this, comparing(Difference(EXPLAINED, bytes(PAGE), changed(64, 96))), AREAS, KNOWN)
    assert (correctness(this), this.events["pages_lost"]) == (Correctness.PASS, 0)
    assert this.facts["ram_explained"] == "0x12c000: kvmclock, steal time"


def test_a_lost_page_is_told_and_kept(this: Measuring, tmp_path: Path) -> None:
    explained, lost = Difference(EXPLAINED, bytes(PAGE), changed(64)), lost_page((2, 1), (1, 1))
    compare_ram(this, comparing(explained, lost), AREAS, KNOWN)
    assert (kinds(this), this.events["pages_lost"]) == ([FindingKind.CONTENTS], 1)
    assert this.facts["ram_explained"] == "0x12c000: kvmclock"
    (finding,), (kept,) = this.findings, this.evidence
    assert f"{lost.number * PAGE:#x}: source page {lost.number} of the load" in finding.text
    assert (tmp_path / kept).read_text() == "\n".join(render_lost([lost], KNOWN)) + "\n"


def test_many_lost_pages_are_counted_and_a_few_told_in_the_reason(this: Measuring) -> None:
    """Of those whose contents were not told nothing can be explained."""
    items = [lost_page((1, 0), (0, 0), order) for order in range(6)]
    compare_ram(this, comparing(*items, more=10), AREAS, KNOWN)
    assert this.events["pages_lost"] == 16
    (finding,) = this.findings
    assert finding.text.startswith("16 ") and finding.text.count("source page") == 4


def test_lost_pages_of_the_load_are_told_first(this: Measuring) -> None:
    foreign = Difference(0, bytes(PAGE), b"\1" * PAGE)
    compare_ram(this, comparing(foreign, lost_page((1, 0), (0, 0), 0)), AREAS, KNOWN)
    (finding,) = this.findings
    assert re.search(r"generation.*; 0x0: source no page of the load", finding.text)


def test_areas_are_those_of_the_guests_vcpus() -> None:
    writes = render_msr_writes([(12, 0x4B564D03, 0x6001), (13, 0x4B564D03, 0x7001)])
    guest = cast(L2, World(threads=(11, 12), histograms={"kvm_msr": writes}))
    assert read_areas(guest) == [Area("steal time", 0x6000, 64)]


def test_areas_need_the_tracepoint() -> None:
    guest = cast(L2, World(threads=(11,), histograms={"log_sync": render_hits(0)}))
    with pytest.raises(GuestError, match="kvm:kvm_msr"):
        read_areas(guest)


def test_each_hop_keeps_its_own_lost_pages_and_facts(this: Measuring) -> None:
    for prefix in ("hop1.", "hop2."):
        compare_ram(this, comparing(lost_page((1, 0), (0, 0), 0)), AREAS, KNOWN, prefix)
    assert set(this.facts) == {f"{hop}.{fact}" for hop in ("hop1", "hop2") for fact in FACTS}
    assert [name.split(".", 2)[-1] for name in this.evidence] == [
        "hop1.lost-pages.txt",
        "hop2.lost-pages.txt",
    ]


CONTENTS, NOT_PROVEN = FindingKind.CONTENTS, FindingKind.NOT_PROVEN


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["progress x", "checked pages=256 bad=0"], []),
        (["bad page=3 seen=0x1", "bad page=4 seen=0x2", "progress x", "checked pages=256 bad=2"], [CONTENTS]),
        (["checked pages=0 bad=0"], [NOT_PROVEN]),
    ],
)
@pytest.mark.parametrize("when", ["", "then"])
def test_the_payloads_own_check(
    this: Measuring, lines: list[str], found: list[FindingKind], when: str
) -> None:
    check_contents(this, cast(L2, World(lines=lines)), when)
    assert (this.checked, kinds(this)) == (True, found)
    assert this.events["pages_checked"] == int(lines[-1].split()[1].partition("=")[2])
    for finding in this.findings:
        if finding.kind is CONTENTS:
            assert finding.text.startswith(when) and "2 of 256" in finding.text
            assert "page=3 seen=0x1" in finding.text and "page=4 seen=0x2" in finding.text
