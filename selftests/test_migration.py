# SPDX-License-Identifier: GPL-2.0-or-later
"""Migration from end to end, in a scripted L1: each way and load, both oracles, and what must be proven."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import scripted
from scripted import Ended, ScriptedL1, ScriptedLab, cell
from scripted.payload import GVA, VISITS
from test_migration_stamps import content_of

from guestloop.agent.dirty_ring import RingLimits
from guestloop.results.findings import FindingKind
from guestloop.results.records import Correctness, Outcome
from guestloop.results.sizes import Sizes
from guestloop.workloads.measuring import Measuring
from guestloop.workloads.migration import trip_of
from guestloop.workloads.migration.hop import (
    HELD_BYTES_PER_S,
    LEAST_BYTES_PER_S,
    LEAST_BYTES_PER_S_WITH_RING,
    POSTCOPY_BYTES_PER_S,
)
from guestloop.workloads.migration.stamps import Layout
from guestloop.workloads.migration.trip import Load
from guestloop.workloads.migration.ways import WAYS

lab = scripted.lab

RAM_PAGES = 64 << 8
BASE = {"before", "logging-on", "round-1", "round-2", "round-3", "round-4", "stop"}


def measure(lab: ScriptedLab, way: str = "precopy", **variant: str) -> Ended:
    """One round; a load that is not held for long goes through its rounds in the script as well."""
    asked = cell("migration", way=way, **variant)
    lab.script.held_in = trip_of(asked).held_rounds
    return lab.measure(asked)


def files(ended: Ended) -> list[str]:
    """The evidence, without what all names begin with."""
    return [name.rpartition("/")[2].removeprefix("patched.1.") for name in ended.record.evidence]


@pytest.mark.parametrize("way", WAYS)
def test_a_round_of_each_way(lab: ScriptedLab, way: str) -> None:
    ended = measure(lab, way)
    record, hops = ended.record, WAYS[way].hops
    assert (ended.status, ended.kinds, record.reason) == ("PASS", [], "")
    assert (record.outcome, record.correctness) == (Outcome.MEASURED, Correctness.PASS)
    ring = way.startswith("dirty-ring")
    assert record.event == ("dirty_ring_resets" if ring else "dirty_log_syncs")
    assert record.judged == ("dirty_log", "dirty_logging_off")
    assert record.events[record.event] > 0 and record.events["dirty_rounds"] >= 4 * hops
    assert record.events["redirtied_least"] == lab.script.dirty
    assert record.events["visits"] > 0 and record.events["pages_checked"] == (2048 if hops > 1 else 4096)
    compared = 0 if way == "postcopy" else hops * trip_of(record.cell).ram_mib << 8
    assert record.events.get("pages_compared", 0) == compared and not record.events.get("pages_lost")
    assert record.work_unit == ("migrations" if way == "postcopy" else "pages_dirtied")
    assert record.work["migrations"] == hops
    assert record.work["pages_visited"] == record.work["pages_dirtied"] > 0, "this load writes what it visits"
    assert record.paths["dirty_log"] > 0
    assert record.counters["remote_tlb_flush_requests"] == sum(record.paths.values())
    assert len(set(record.evidence)) == len(record.evidence), "nothing is written over"


@pytest.mark.parametrize("way", WAYS)
def test_a_round_in_a_larger_l1(lab: ScriptedLab, way: str) -> None:
    """So much more is sent in the same time."""
    lab.use(Sizes.of(4))
    ended = measure(lab, way, vcpus="8")
    assert (ended.status, ended.kinds) == ("PASS", [])
    trip = trip_of(ended.record.cell, 4)
    (prepared, *_) = lab.called("migration.prepare")
    assert prepared["parameters"]["max_bandwidth"] == 4 * HELD_BYTES_PER_S
    assert prepared["parameters"]["max_postcopy_bandwidth"] == 4 * POSTCOPY_BYTES_PER_S
    least = LEAST_BYTES_PER_S_WITH_RING if trip.way.ring else LEAST_BYTES_PER_S
    assert {begun["least_bytes_per_s"] for begun in lab.called("migration.begin")} == {4 * least}
    guests = {started["argv"][started["argv"].index("-m") + 1] for started in lab.called("guests.start")}
    assert guests == {f"{trip.ram_mib}"}


def test_other_requests_are_counted_in_the_phases_in_which_they_were_made(lab: ScriptedLab) -> None:
    lab.script.root_loads = 3
    record = measure(lab).record
    (asked,) = record.requests.items()
    syncs = record.paths["dirty_log"] // 5
    assert asked == ("mmu_free_obsolete_roots/memslot", 3 * syncs)
    assert record.events["root_loads"] == 3 * syncs > 0
    phases = {name: sum(phase.requests.values()) for name, phase in record.phases.items()}
    assert phases["before"] == 0 and sum(phases.values()) == 3 * syncs


def test_precopy_step_by_step(lab: ScriptedLab) -> None:
    ended = measure(lab)
    assert set(ended.record.phases) == BASE
    assert files(ended) == ["turns.json", "stacks.txt"]
    assert lab.told("a")[:3] == [
        "load name=sweep mib=16 seed=1 thp=0 window=256 pace_us=500",
        "check",
        "start report_ms=100",
    ]
    assert [line for line in lab.told("b") if line != "hello"] == ["stop", "check"]
    calls = [call.method.removeprefix("migration.") for call in lab.calls if "migration." in call.method]
    assert calls == [
        *("prepare", "pause", "begin", "wait", "connections", "release", "wait", "progress", "wait"),
        *("mark", "take_marks", "progress", "progress", "progress", "compare", "progress"),
    ]
    (prepared,) = lab.called("migration.prepare")
    assert (prepared["source"], prepared["destination"]) == ("a", "b")
    assert prepared["capabilities"] == ["events", "pause-before-switchover"]
    assert prepared["parameters"]["downtime_limit"] == 1
    assert lab.called("migration.begin") == [{"round_s": 0.3, "least_bytes_per_s": 1 << 20}]
    waits = [(params["states"], params["rounds"]) for params in lab.called("migration.wait")]
    assert waits == [([], 4), (["pre-switchover"], 0), (["completed"], 0)]
    assert [params["name"] for params in lab.called("guests.stop")] == ["b", "a"]
    reports = [params["name"] for params in lab.called("guests.listen")]
    assert reports == [*("a" * 4), *("b" * 2)], "one and three before, two after"


def test_the_turns_are_kept_for_a_reader(lab: ScriptedLab) -> None:
    ended = measure(lab)
    turns = json.loads((lab.out / ended.record.evidence[0]).read_text())
    assert [turn["phase"] for turn in turns][:2] == ["before", "logging-on"]
    assert turns[-1]["phase"] == "end" and turns[-2]["pages_sent"] > RAM_PAGES


@pytest.mark.parametrize("load", Load)
def test_a_round_of_each_load(lab: ScriptedLab, load: Load) -> None:
    ended = measure(lab, load=load, vcpus="1")
    trip = trip_of(ended.record.cell)
    assert (ended.status, ended.kinds) == ("PASS", [])
    assert lab.told("a")[0].startswith(f"load name={load} mib={trip.mib} ")
    assert ended.record.event == trip.event
    assert len(lab.called("migration.pin")) == int(load is Load.LINGER)
    (begun,) = lab.called("migration.begin")
    assert begun["round_s"] == trip.round_s
    assert ("redirtied_least" in ended.record.events) is bool(trip.round_s)


def test_a_lingering_load_may_be_outrun(lab: ScriptedLab) -> None:
    """Its rounds are not held; the pages that went out again are proof enough."""
    lab.script.outruns_in, lab.script.dirty = 5, 20
    ended = measure(lab, load="linger")
    assert ended.status == "PASS" and ended.record.events["dirty_rounds"] == 6
    assert ended.record.work_unit == "migrations"
    lab.script.outruns_in = 1
    ended = measure_again(lab, load="linger")
    assert set(ended.kinds) == {FindingKind.NOT_PROVEN}
    assert "dirty_pages: 0" in ended.record.reason and "dirty_rounds: 2" in ended.record.reason


def measure_again(lab: ScriptedLab, **variant: str) -> Ended:
    return lab.measure(cell("migration", **variant), number=2)


def test_a_load_that_is_held_must_not_be_outrun(lab: ScriptedLab) -> None:
    lab.script.outruns_in = 2
    ended = measure(lab)
    assert ended.kinds == [FindingKind.MIGRATION_FAILED]
    assert ended.record.outcome is Outcome.INVALID
    assert files(ended) == ["qemu.json", "error.txt"], "what both QEMUs say is kept"


# --- ways ------------------------------------------------------------------------------------------


def test_a_cancelled_migration_is_counted_apart(lab: ScriptedLab) -> None:
    ended = measure(lab, "cancel-retry")
    assert set(ended.record.phases) == {
        *(BASE - {"stop"} | {"logging-off"}),
        *(f"retry.{name}" for name in BASE),
    }
    assert ended.record.events["cancelled"] == 1
    assert ended.record.paths["dirty_logging_off"] == 1
    assert files(ended) == ["turns.json", "stacks.txt", "retry.turns.json", "retry.stacks.txt"]
    started = [params["name"] for params in lab.called("guests.start")]
    assert started == ["a", "b", "b"], "the first destination is given up"
    assert [params["label"] for params in lab.called("migration.mark")] == ["logging-off", "end"]
    assert ended.record.events["pages_compared"] == RAM_PAGES, "once, at the second"


def test_a_ping_pong_goes_from_guest_to_guest(lab: ScriptedLab) -> None:
    ended = measure(lab, "ping-pong")
    prepared = [(params["source"], params["destination"]) for params in lab.called("migration.prepare")]
    assert prepared == [("a", "b"), ("b", "c"), ("c", "d")]
    assert [params["name"] for params in lab.called("guests.launch")] == ["b", "c", "d"]
    assert set(ended.record.phases) == {f"hop{hop}.{name}" for hop in (1, 2, 3) for name in BASE}
    each = ("turns.json", "stacks.txt")
    assert files(ended) == [f"hop{hop}.{name}" for hop in (1, 2, 3) for name in each]
    assert {f"hop{hop}.ram_explained" for hop in (1, 2, 3)} <= ended.record.facts.keys()
    assert [line for line in lab.told("d") if line != "hello"] == ["stop", "check"]


def test_a_retry_of_a_later_hop_keeps_the_hops_prefix(
    lab: ScriptedLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(WAYS["cancel-retry"]), "hops", 2)
    ended = measure(lab, "cancel-retry")
    tries = [f"hop{hop}.{retry}" for hop in (1, 2) for retry in ("", "retry.")]
    assert files(ended) == [f"{each}{name}" for each in tries for name in ("turns.json", "stacks.txt")]
    assert {name.rpartition(".")[0] for name in ended.record.phases} == {each[:-1] for each in tries}
    assert ended.record.events["cancelled"] == 2


def test_postcopy_runs_at_the_destination_before_all_is_there(lab: ScriptedLab) -> None:
    ended = measure(lab, "postcopy")
    assert "postcopy" in ended.record.phases and ended.record.events["page_requests"] == 40
    commands = [params["command"] for params in lab.called("guests.qmp")]
    assert "migrate-start-postcopy" in commands and "migrate-continue" not in commands
    assert lab.called("migration.prepare")[0]["capabilities"] == ["events", "postcopy-ram"]
    assert lab.called("migration.compare") == [], "the RAM files differ by nature"


def test_multifd_asks_for_channels(lab: ScriptedLab) -> None:
    ended = measure(lab, "multifd")
    (prepared,) = lab.called("migration.prepare")
    assert "multifd" in prepared["capabilities"] and prepared["parameters"]["multifd_channels"] == 3
    assert ended.record.events["multifd_bytes"] == lab.script.multifd_bytes
    assert ended.record.events["connections"] == 4


@pytest.mark.parametrize("entries", [256, 8192])
def test_the_size_of_the_ring_is_that_of_the_way(lab: ScriptedLab, entries: int) -> None:
    measure(lab, f"dirty-ring-{entries}")
    size = f"dirty-ring-size={entries}"
    assert all(size in " ".join(params["argv"]) for params in lab.called("guests.launch"))


def test_a_ring_that_is_larger_than_the_load_is_never_full(lab: ScriptedLab) -> None:
    lab.script.ring_exits = 0
    assert measure(lab, "dirty-ring-8192").status == "PASS"


@pytest.mark.parametrize(
    ("way", "limits", "reason"),
    [
        ("dirty-ring", RingLimits(64, 0), "dirty ring of 1024 entries: L1's KVM has no dirty ring"),
        (
            "dirty-ring-256",
            RingLimits(576, 65536),
            "dirty ring of 256 entries: L1's KVM keeps 576 free and takes 1024 or more",
        ),
        ("dirty-ring-8192", RingLimits(64, 4096), "dirty ring of 8192 entries: L1's KVM takes 4096 at most"),
    ],
)
def test_a_ring_that_kvm_does_not_take_skips_the_round(
    lab: ScriptedLab, way: str, limits: RingLimits, reason: str
) -> None:
    lab.script.ring_limits = limits
    ended = measure(lab, way)
    assert (ended.status, ended.kinds, ended.record.reason) == ("CANCEL", [FindingKind.LACKING], reason)
    assert lab.called("guests.launch") == []


def test_a_dirty_ring_is_of_the_guests(lab: ScriptedLab) -> None:
    ended = measure(lab, "dirty-ring")
    assert all("dirty-ring-size=1024" in " ".join(params["argv"]) for params in lab.called("guests.launch"))
    assert ended.record.events["dirty_ring_exits"] > 0 and ended.record.events["dirty_log_syncs"] == 0
    assert lab.called("migration.begin")[0]["least_bytes_per_s"] == 8 << 20


@pytest.mark.parametrize(("way", "pages"), [("precopy", 64), ("ping-pong", 112)])
def test_huge_pages_are_there_for_all_ends_of_the_trip(lab: ScriptedLab, way: str, pages: int) -> None:
    ended = measure(lab, way, pages="2m")
    assert ended.status == "PASS"
    assert [params["pages"] for params in lab.called("migration.huge_pages")] == [pages, 0]
    assert " thp=1 " in lab.told("a")[0]
    argv = " ".join(lab.called("guests.start")[0]["argv"])
    assert "mem-path=/dev/hugepages/" in argv and "prealloc=on" in argv


def test_without_memory_for_huge_pages_the_round_is_skipped(lab: ScriptedLab) -> None:
    lab.script.pool = 63
    ended = measure(lab, pages="2m")
    assert (ended.status, ended.kinds) == ("CANCEL", [FindingKind.LACKING])
    assert lab.called("migration.huge_pages")[-1] == {"pages": 0} and lab.called("guests.start") == []


@pytest.mark.parametrize(
    ("way", "pages", "need"), [("postcopy", "4k", "userfaultfd"), ("precopy", "2m", "hugetlb")]
)
def test_what_l1_lacks_skips_the_round_before_a_guest_starts(
    lab: ScriptedLab, way: str, pages: str, need: str
) -> None:
    lab.script.lacks = {need: f"no {need} here"}
    ended = measure(lab, way, pages=pages)
    assert (ended.status, ended.kinds, ended.record.reason) == (
        "CANCEL",
        [FindingKind.LACKING],
        f"no {need} here",
    )
    assert lab.called("guests.start") == [] and lab.called("migration.huge_pages") == []
    assert measure(lab).status == "PASS", "a way that does without it"


# --- oracles ---------------------------------------------------------------------------------------


LAYOUT = Layout(GVA, 4096, 2, seed=1)


@pytest.mark.parametrize("way", [name for name in WAYS if name != "postcopy"])
def test_a_page_that_differs_is_lost(lab: ScriptedLab, way: str) -> None:
    lab.script.lost_pages = {7: (content_of(LAYOUT, 5, 2, 1), content_of(LAYOUT, 5, 1, 1))}
    ended = measure(lab, way)
    hops = WAYS[way].hops
    assert (ended.status, ended.kinds) == ("FAIL", [FindingKind.CONTENTS] * hops)
    assert (ended.record.outcome, ended.record.correctness) == (Outcome.MEASURED, Correctness.FAIL)
    assert ended.record.events["pages_lost"] == hops
    assert sum(name.endswith("lost-pages.txt") for name in files(ended)) == hops


def test_a_lost_page_is_described_by_its_stamps(lab: ScriptedLab) -> None:
    lab.script.lost_pages = {7: (content_of(LAYOUT, 5, 2, 1), content_of(LAYOUT, 5, 1, 1))}
    ended = measure(lab)
    assert "0x7000" in ended.record.reason and "page 5 of the load" in ended.record.reason
    (kept,) = [name for name in ended.record.evidence if name.endswith("lost-pages.txt")]
    assert "v0 generation 2" in (lab.out / kept).read_text()


def test_what_kvm_wrote_is_not_lost(lab: ScriptedLab) -> None:
    """The scripted guests tell KVM that their clocks are in the first pages."""
    lab.script.lost_pages = {1: (bytes(4096), b"\1" * 32 + bytes(4096 - 32))}
    ended = measure(lab)
    assert (ended.status, ended.record.facts["ram_explained"]) == ("PASS", "0x1000: kvmclock")


@pytest.mark.parametrize("way", WAYS)
def test_a_destination_that_forgot_what_was_done_is_a_finding(lab: ScriptedLab, way: str) -> None:
    lab.script.forgotten_visits = VISITS * 3 // 2  # made up for by the second report, not by the first
    ended = measure(lab, way)
    assert ended.status == "FAIL" and set(ended.kinds) == {FindingKind.CONTENTS}
    assert ended.record.outcome is Outcome.MEASURED
    assert "v0: " in ended.record.reason and "v1: " in ended.record.reason


@pytest.mark.parametrize("way", ["precopy", "postcopy"])
def test_a_vcpu_that_does_nothing_at_the_destination_proves_nothing(lab: ScriptedLab, way: str) -> None:
    lab.script.idle_after = (1,)
    ended = measure(lab, way)
    assert ended.kinds == [FindingKind.NOT_PROVEN] and "[1]" in ended.record.reason


def test_wrong_data_is_found_before_and_after(lab: ScriptedLab) -> None:
    lab.script.bad_pages = 3
    ended = measure(lab)
    assert ended.kinds == [FindingKind.CONTENTS] * 2
    assert [when in ended.record.reason for when in ("before the migration", "after the migration")] == [
        True
    ] * 2


def test_what_the_load_itself_saw_is_a_finding(lab: ScriptedLab) -> None:
    lab.script.bad_visits = 2
    assert measure(lab).kinds == [FindingKind.CONTENTS]


# --- what must be proven ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "bent", "event"),
    [
        ("precopy", {"dirty": 15}, "redirtied_least"),
        ("precopy", {"dirty": 11}, "dirty_pages"),
        ("precopy", {"log_syncs": 0}, "dirty_log_syncs"),
        ("dirty-ring", {"ring_exits": 0}, "dirty_ring_exits"),
        ("dirty-ring", {"ring_pages": 0}, "dirty_ring_pages"),
        ("dirty-ring-256", {"ring_exits": 0}, "dirty_ring_exits"),
        ("dirty-ring-8192", {"ring_pages": 0}, "dirty_ring_pages"),
        ("dirty-ring", {"ring_resets": 0}, "dirty_ring_resets"),
        ("multifd", {"multifd_bytes": 0}, "multifd_bytes"),
        ("multifd", {"connections": 2}, "connections"),
        ("postcopy", {"page_requests": 4}, "page_requests"),
        ("postcopy", {"stays_precopy": True}, "postcopy_entered"),
        ("precopy", {"compared": 16383}, "pages_compared"),
        ("cancel-retry", {"compared": 16383}, "pages_compared"),
        ("ping-pong", {"compared": 16383 // 3}, "pages_compared"),
        ("multifd", {"compared": 16383}, "pages_compared"),
        ("dirty-ring", {"compared": 16383}, "pages_compared"),
    ],
)
def test_a_migration_that_was_not_of_its_way_is_invalid(
    lab: ScriptedLab, way: str, bent: Mapping[str, Any], event: str
) -> None:
    vars(lab.script).update(bent)
    ended = measure(lab, way)
    assert ended.status == "ERROR" and set(ended.kinds) == {FindingKind.NOT_PROVEN}
    assert ended.record.outcome is Outcome.INVALID and f"{event}: " in ended.record.reason


COMPARED = {"pages_compared"}


@pytest.mark.parametrize(
    ("way", "events"),
    [
        ("precopy", COMPARED),
        ("dirty-ring", COMPARED | {"dirty_ring_exits", "dirty_ring_pages"}),
        ("multifd", COMPARED | {"multifd_bytes", "connections"}),
        ("postcopy", {"postcopy_entered", "page_requests"}),
        ("cancel-retry", COMPARED | {"cancelled"}),
        ("ping-pong", COMPARED),
    ],
)
def test_what_each_way_must_prove(way: str, events: set[str], tmp_path: Path) -> None:
    """Beyond what all of them must: of nothing that has happened, all is missing."""
    asked = cell("migration", way=way)
    this = Measuring(asked, "patched", 1, tmp_path)
    WAYS[way].prove(this, trip_of(asked))
    assert {finding.text.partition(":")[0] for finding in this.findings} == events
    assert {finding.kind for finding in this.findings} == {FindingKind.NOT_PROVEN}


def test_call_paths_must_account_for_the_counter(lab: ScriptedLab) -> None:
    lab.script.uncounted = 1
    assert measure(lab).kinds == [FindingKind.INCONSISTENT_COUNT]


def test_a_source_that_reported_nothing_proves_nothing(lab: ScriptedLab) -> None:
    """Without its reports nobody knows what the destination must not have forgotten."""
    lab.at("migration.release", lambda l1: l1.guest("a").progress.clear())
    ended = measure(lab)
    assert ended.kinds == [FindingKind.NOT_PROVEN]


# --- rounds that break -----------------------------------------------------------------------------


def test_a_migration_that_fails_says_nothing_about_the_kernel(lab: ScriptedLab) -> None:
    lab.script.fails_in = 3
    ended = measure(lab)
    assert ended.kinds == [FindingKind.MIGRATION_FAILED]
    assert (ended.record.outcome, ended.record.correctness) == (Outcome.INVALID, Correctness.PASS)
    kept = json.loads((lab.out / ended.record.evidence[0]).read_text())
    assert set(kept) == {"a", "b"} and kept["a"]["query-status"] == {"status": "running"}


@pytest.mark.parametrize(
    ("status", "panic", "kind"),
    [
        (0, "Kernel panic - not syncing", FindingKind.GUEST_CRASHED),
        (0, "", FindingKind.GUEST_CRASHED),
        (-7, "", FindingKind.GUEST_KILLED),
    ],
)
@pytest.mark.parametrize("name", ["a", "b"])
def test_a_guest_that_ends_during_its_migration(
    lab: ScriptedLab, name: str, status: int, panic: str, kind: FindingKind
) -> None:
    lab.script.status, lab.script.panic = status, panic
    lab.at("migration.release", lambda l1: l1.guest(name).die())
    ended = measure(lab)
    assert ended.kinds == [kind]
    crashed = kind is FindingKind.GUEST_CRASHED
    assert ended.record.correctness is (Correctness.FAIL if crashed else Correctness.PASS)


@pytest.mark.parametrize("way", ["precopy", "cancel-retry"])
def test_a_guest_that_is_stuck_at_the_destination_is_a_finding(lab: ScriptedLab, way: str) -> None:
    lab.at("migration.compare", lambda _: setattr(lab.script, "silent_after", "hello"))
    ended = measure(lab, way)
    assert (ended.status, ended.kinds) == ("FAIL", [FindingKind.STUCK])


@pytest.mark.parametrize("method", ["migration.begin", "migration.compare", "guests.stop"])
def test_an_l1_that_panics_is_found_once(lab: ScriptedLab, method: str) -> None:
    lab.at(method, ScriptedL1.panic)
    ended = measure(lab)
    assert (ended.status, ended.kinds) == ("FAIL", [FindingKind.L1_PANICKED])
    assert ended.record.correctness is Correctness.FAIL


def test_an_l1_that_is_gone_has_no_pool_to_give_back(lab: ScriptedLab) -> None:
    """What broke the round is not replaced by the failure to tidy up."""
    lab.script.silent_after = "check"
    lab.at("migration.huge_pages", lambda l1: lab.at("migration.huge_pages", ScriptedL1.panic))
    ended = measure(lab, pages="2m")
    assert ended.kinds == [FindingKind.STUCK, FindingKind.L1_PANICKED]


def test_guests_that_were_launched_end_with_the_round(lab: ScriptedLab) -> None:
    """The source crashes before any destination is asked for."""
    lab.script.ends_at = "load"
    measure(lab, "ping-pong")
    assert lab.l1.roster.running == {}
    lab.script.ends_at = ""
    assert measure_again(lab, way="ping-pong").status == "PASS"
