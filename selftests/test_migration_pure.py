# SPDX-License-Identifier: GPL-2.0-or-later
"""What a migration round is judged by: reports of the payload, explained differences, phases."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from scripted.kernel import render_hits, render_msr_writes, render_stacks

from guestloop.agent.migration import Mark as AgentMark
from guestloop.counters import FLUSH_REQUESTS
from guestloop.ground.errors import GuestError, LabError
from guestloop.ground.units import PAGE
from guestloop.results.cells import Cell, Mmu
from guestloop.results.records import Phase
from guestloop.workloads.migration import trip_of, turns
from guestloop.workloads.migration.explained import Area, areas_of, cause_of
from guestloop.workloads.migration.ledger import (
    Done,
    Entry,
    done_between,
    idle_vcpus,
    lost_visits,
    parse_entry,
    parse_ledger,
    round_at,
    when_visited,
)
from guestloop.workloads.migration.turns import Mark, turn_of

REQUEST = 256

# --- ledger ----------------------------------------------------------------------------------------


def test_reports_of_the_payload() -> None:
    lines = [
        (1.5, "progress t_ms=100 reads=30 writes=7 laps=0 bad=0 v0=20 v1=10"),
        (1.6, "stopped t_ms=200 reads=50 writes=9 laps=0 bad=3 v0=30 v1=20"),
    ]
    assert parse_ledger(lines) == [Entry(1.5, (20, 10), 0, 7), Entry(1.6, (30, 20), 3, 9)]


def test_more_than_ten_vcpus_keep_their_order() -> None:
    told = " ".join(f"v{vcpu}={vcpu + 100}" for vcpu in range(12))
    assert parse_entry(0.0, f"progress writes=0 bad=0 {told}").visits == tuple(range(100, 112))


def test_a_report_of_nobody_is_none() -> None:
    with pytest.raises(GuestError, match="no vCPU's visits: 'progress t_ms=1 bad=0 v1=5'"):
        parse_entry(0.0, "progress t_ms=1 bad=0 v1=5")


def test_what_the_destination_forgot() -> None:
    before = Entry(1.0, (10, 10, 10), 0, 0)
    after = Entry(2.0, (9, 10, 11), 0, 0)
    assert lost_visits(before, after) == ["v0: 9 visits after 10 were reported"]
    assert idle_vcpus(before, after) == [0, 1]
    with pytest.raises(ValueError, match="shorter"):  # another guest's report
        lost_visits(before, Entry(2.0, (10, 10), 0, 0))


@pytest.mark.parametrize(
    ("at_s", "name"),
    [(0.9, "before the migration"), (1.0, "round-1"), (1.9, "round-1"), (2.0, "round-2"), (99.0, "round-2")],
)
def test_the_round_at_a_time(at_s: float, name: str) -> None:
    assert round_at({"round-1": 1.0, "round-2": 2.0}, at_s) == name


def test_no_round_without_a_migration() -> None:
    assert round_at({}, 5.0) == "before the migration"


@pytest.mark.parametrize(
    ("start_s", "end_s", "done"),
    [
        (0.5, 2.0, Done(25, 8)),  # nothing was reported before the start
        (1.0, 2.9, Done(15, 5)),  # by the last reports before each
        (1.9, 1.9, Done(0, 0)),
        (2.0, 3.0, Done(0, 0)),  # the destination forgot
    ],
)
def test_what_was_done_between_two_moments(start_s: float, end_s: float, done: Done) -> None:
    source = [Entry(1.0, (10, 0), 0, 3), Entry(2.0, (20, 5), 0, 8)]
    assert done_between([*source, Entry(3.0, (1, 1), 0, 1)], start_s, end_s) == done


def test_when_a_visit_was_reported() -> None:
    ledger = [Entry(1.0, (10, 0), 0, 0), Entry(2.0, (20, 5), 0, 0)]
    assert [when_visited(ledger, 0, visit) for visit in (1, 10, 11, 20, 21)] == [1.0, 1.0, 2.0, 2.0, None]
    assert when_visited(ledger, 1, 1) == 2.0


# --- explained differences -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("register", "value", "area"),
    [
        # name, address and size of struct as in pvclock-abi.h and kvm_para.h
        (0x4B564D00, 0x2A01000, Area("wall clock", 0x2A01000, 12)),
        (0x4B564D01, 0x2A02041, Area("kvmclock", 0x2A02040, 32)),
        (0x4B564D02, 0x5FC1004D, Area("async page fault area", 0x5FC10040, 64)),
        (0x4B564D03, 0x5FC12081, Area("steal time", 0x5FC12080, 64)),
        (0x4B564D04, 0x5FC13007, Area("PV EOI", 0x5FC13004, 4)),
    ],
)
def test_where_kvm_writes(register: int, value: int, area: Area) -> None:
    assert areas_of(render_msr_writes([(11, register, value)]), {11}) == [area]


def test_areas_of_others_and_of_what_is_switched_off_are_none() -> None:
    written = render_msr_writes(
        [
            (11, 0x4B564D01, 0x9001),
            (11, 0x4B564D03, 0x5001),
            (12, 0x4B564D03, 0x6001),
            (99, 0x4B564D03, 0x7001),  # a thread of another guest
            (11, 0x4B564D02, 0x8000),  # switched off
            (11, 0x4B564D06, 0xEC),  # a vector, no address
        ]
    )
    assert areas_of(written, (11, 12)) == [
        Area("steal time", 0x5000, 64),
        Area("steal time", 0x6000, 64),
        Area("kvmclock", 0x9000, 32),
    ]
    assert areas_of(render_msr_writes([]), (11,)) == []


def test_a_full_histogram_of_msr_writes_is_no_basis() -> None:
    full = render_msr_writes([(11, 0x4B564D01, 0x9001)], dropped=3)
    with pytest.raises(GuestError, match="3 writes were not counted"):
        areas_of(full, (11,))


EXPLAINED = 300  # a page outside the load
AREAS = [Area("kvmclock", EXPLAINED * PAGE + 64, 32), Area("steal time", EXPLAINED * PAGE + 96, 64)]


def changed(*offsets: int) -> bytes:
    """A page of zeros but for these bytes."""
    content = bytearray(PAGE)
    for offset in offsets:
        content[offset] = 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    ("offsets", "cause"),
    [
        ((64, 95), "kvmclock"),
        ((159,), "steal time"),
        ((64, 96), "kvmclock, steal time"),
        ((63,), ""),
        ((64, 160), ""),  # one byte outside is enough
    ],
)
def test_who_made_a_page_differ(offsets: tuple[int, ...], cause: str) -> None:
    assert cause_of(AREAS, EXPLAINED, bytes(PAGE), changed(*offsets)) == cause
    assert cause_of(AREAS, EXPLAINED, changed(*offsets), bytes(PAGE)) == cause
    assert cause_of(AREAS, EXPLAINED + 1, bytes(PAGE), changed(*offsets)) == "", (
        "the same offsets in another page"
    )


# --- turns -----------------------------------------------------------------------------------------


def sent_mark(
    label: str,
    at_s: float,
    ram: Mapping[str, int] | None = None,
    flushes: Mapping[str, int] | None = None,
    moved: tuple[int, int] = (0, 0),
    syncs: int = 0,
) -> AgentMark:
    """A mark as the agent takes it; the destination has a counter that the source lacks."""
    flushes = flushes or {}
    return AgentMark(
        label=label,
        at_s=at_s,
        source={FLUSH_REQUESTS: sum(flushes.values()), "exits": moved[0]},
        destination={"exits": moved[1], "halts": 1},
        vmstat={"pswpin": 4},
        histograms={
            "request": render_stacks({(path, REQUEST): hits for path, hits in flushes.items()}),
            "log_sync": render_hits(syncs),
        },
        migration={"ram": dict(ram)} if ram else {},
    )


def dirty(rounds: int, sent: int, left: int) -> dict[str, int]:
    return {"dirty-sync-count": rounds, "normal": sent - 3, "duplicate": 3, "remaining": left * PAGE}


def marks_of(*items: AgentMark) -> list[Mark]:
    return [turn_of(item) for item in items]


ROUNDS = marks_of(
    sent_mark("before", 0.0),
    sent_mark("logging-on", 1.0),
    sent_mark("logging-on", 1.5, dirty(0, 3, 100)),
    sent_mark("round-1", 2.0, dirty(1, 3, 100)),
    sent_mark("round-2", 3.0, dirty(2, 103, 40)),
    sent_mark("round-3", 4.0, dirty(3, 143, 2)),  # 28 of 30 are sent already
    sent_mark("stop", 5.0, dirty(4, 173, 9)),
    sent_mark("end", 6.0),
)


def test_a_mark_as_the_agent_takes_it() -> None:
    ram = dirty(2, 103, 40) | {"multifd-bytes": 4096}
    (mark,) = marks_of(sent_mark("round-2", 3.5, ram, {"async_page_ready": 7}, (30, 12)))
    assert (mark.label, mark.at_s, mark.rounds, mark.sent, mark.left) == ("round-2", 3.5, 2, 103, 40)
    assert mark.multifd_bytes == 4096
    assert mark.reading.counters == {FLUSH_REQUESTS: 7, "exits": 42, "halts": 1}
    assert mark.reading.vmstat == {"pswpin": 4}
    (rest,) = marks_of(sent_mark("before", 0.0))
    assert (rest.rounds, rest.sent, rest.left, rest.multifd_bytes) == (0, 0, 0, 0)


def test_phases_are_what_lies_between_marks() -> None:
    other = "other:some_new_caller"
    marks = marks_of(
        sent_mark("before", 1.0, flushes={"async_page_ready": 100}, moved=(5, 0)),
        sent_mark("round-1", 2.0, flushes={"async_page_ready": 110}, moved=(10, 2)),
        sent_mark("stop", 4.0, flushes={"async_page_ready": 110, other: 4}, moved=(10, 3)),
        sent_mark("round-1", 4.5, flushes={"async_page_ready": 110, other: 4}, moved=(11, 3)),
        sent_mark("end", 7.5, flushes={"async_page_ready": 111, other: 6}, moved=(12, 3)),
    )
    assert turns.phases_of(marks, REQUEST) == {
        "before": Phase(1.0, {FLUSH_REQUESTS: 10, "exits": 7, "halts": 0}, {"async_page_ready": 10}),
        # twice, which is added up
        "round-1": Phase(
            5.0, {FLUSH_REQUESTS: 7, "exits": 2, "halts": 0}, {other: 4 + 2, "async_page_ready": 1}
        ),
        "stop": Phase(0.5, {FLUSH_REQUESTS: 0, "exits": 1, "halts": 0}, {}),
    }
    assert turns.phases_of(marks[:1], REQUEST) == {}


def test_marks_of_two_guests_are_no_phase() -> None:
    marks = marks_of(sent_mark("before", 1.0, moved=(5, 5)), sent_mark("end", 2.0, moved=(1, 1)))
    with pytest.raises(LabError, match="counters went backwards: exits 10 -> 2"):
        turns.phases_of(marks, REQUEST)


def test_rounds_and_what_was_dirty_in_them() -> None:
    assert list(turns.rounds_of(ROUNDS).items()) == [("round-1", 2.0), ("round-2", 3.0), ("round-3", 4.0)]
    assert turns.redirtied(ROUNDS) == [40, 30]
    assert turns.sent_again(ROUNDS) == 70


def test_a_last_round_whose_end_was_not_seen_tells_nothing() -> None:
    """Marks taken by hand have no figures."""
    assert turns.redirtied(ROUNDS[:6]) == [40]
    assert turns.redirtied([*ROUNDS[:6], ROUNDS[-1]]) == [40]


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_migration_without_a_second_round_sent_nothing_again(count: int) -> None:
    assert (turns.redirtied(ROUNDS[:count]), turns.sent_again(ROUNDS[:count])) == ([], 0)


def test_hits_of_a_tracepoint() -> None:
    early, late = marks_of(sent_mark("before", 0.0, syncs=5), sent_mark("end", 1.0, syncs=12))
    assert late.reading.hits_since(early.reading, "log_sync") == 7
    assert late.reading.hits_since(early.reading, "kvm_dirty_ring_push") == 0


def test_marks_for_a_reader() -> None:
    rows = turns.table(ROUNDS[4:6])
    assert rows == [
        {"phase": "round-2", "at_s": 0.0, "rounds": 2, "pages_sent": 103, "pages_left": 40},
        {"phase": "round-3", "at_s": 1.0, "rounds": 3, "pages_sent": 143, "pages_left": 2},
    ]


@pytest.mark.parametrize(
    ("load", "mib", "pace_us"), [("mix", 8, 1000), ("once", 8, 2000), ("hot", 4, 0), ("linger", 8, 0)]
)
def test_a_ping_pong_leaves_a_load_what_it_is(load: str, mib: int, pace_us: int) -> None:
    variant = {"load": load, "way": "ping-pong", "pages": "4k", "vcpus": "4"}
    trip = trip_of(Cell("migration", Mmu.TDP, variant, ()))
    assert (trip.hops, trip.mib, trip.pace_us) == (3, mib, pace_us)


@pytest.mark.parametrize(
    ("load", "way", "event"),
    [
        ("sweep", "precopy", "dirty_log_syncs"),
        ("linger", "precopy", "dirty_pages"),
        ("sweep", "dirty-ring", "dirty_ring_resets"),
        ("linger", "dirty-ring", "dirty_ring_resets"),
    ],
)
def test_what_flushes_are_counted_per(load: str, way: str, event: str) -> None:
    """Syncs of the log that find nothing, as most do when rounds are not held, ask for no flush."""
    variant = {"load": load, "way": way, "pages": "4k", "vcpus": "2"}
    assert trip_of(Cell("migration", Mmu.TDP, variant, ())).event == event
