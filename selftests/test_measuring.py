# SPDX-License-Identifier: GPL-2.0-or-later
"""A round in the making: what is counted between two readings, what findings mean, and what is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
from scripted.kernel import REQUESTS, Kernel

from guestloop.ground import errors
from guestloop.ground.errors import GuestCrashed, GuestError, GuestloopError, Kind, LabError, Lacking
from guestloop.ground.usage import Threads, Usage
from guestloop.lab.client import L1, L2
from guestloop.results.cells import Cell, Mmu
from guestloop.results.findings import Bearing, FindingKind
from guestloop.results.records import Correctness, Outcome, Work, parse_round, read_rounds, write_round
from guestloop.vm.argv import L2Spec
from guestloop.workloads.measuring import FINDINGS, Measuring
from guestloop.workloads.reading import take_reading

REQUEST = 256
CELL = Cell("asyncpf", Mmu.SHADOW, {"load": "read-shared"})
READY = "kvm_async_pf_ready"
ZERO = dict.fromkeys(
    (
        "page_completed",
        "page_not_present",
        "async_get_page",
        "age_hva",
        "test_age_hva",
        "pages_swapped_out",
        "huge_pages_split",
        "huge_pages_swapped_whole",
        "root_loads",
        "young_pages",
    ),
    0,
)


class World:
    """An L1, the L2 in it and its agent at once, as far as a reading has to do with them."""

    def __init__(self) -> None:
        self.l1 = self.agent = self.memory = self.trace = self
        self.boot, self.request = 3, REQUEST
        self.facts = {"release": "6.12.117"}
        self.absent_paths = ("change_pte",)
        self.spec = L2Spec("storm")
        self.kernel = Kernel(REQUEST)
        self.kernel.flush("storm", "async_page_ready", 10)
        self.kernel.hit(READY, 100)
        self.asked: list[str] = []
        self.used = {7: Usage(100.0, 50.0)}
        self.told: list[str] = []

    def begin_counting(self) -> None:
        self.told.append("begin")

    def end_counting(self) -> None:
        self.told.append("end")

    def usage(self) -> Threads:
        return dict(self.used)

    def work(self, ran_s: float, waited_s: float) -> None:
        """Its QEMU gets CPU time, and waits for some."""
        self.used[7] += Usage(ran_s, waited_s)

    def move(self, ready: int = 0, **paths: int) -> None:
        """Let events and flushes happen."""
        for path, count in paths.items():
            self.kernel.flush("storm", path, count)
        self.kernel.hit(READY, ready)
        self.kernel.vmstat["pswpin"] += 2 * ready

    def read_vmstat(self) -> dict[str, int]:
        self.asked.append("vmstat")
        return dict(self.kernel.vmstat)

    def counters(self) -> dict[str, int]:
        self.asked.append("counters")
        return self.kernel.counters("storm")

    def read(self) -> dict[str, str]:
        self.asked.append("histograms")
        return self.kernel.histograms()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def this(world: World, tmp_path: Path) -> Measuring:
    this = Measuring(CELL, "patched", 2, tmp_path / "evidence")
    this.use(cast(L1, world))
    return this


def l2(world: World) -> L2:
    return cast(L2, world)


def kinds(this: Measuring) -> list[FindingKind]:
    return [finding.kind for finding in this.findings]


# --- counting --------------------------------------------------------------------------------------


def test_counts_are_differences(this: Measuring, world: World) -> None:
    with this.counting(l2(world), "storm"):
        world.move(ready=600, async_page_ready=240)
    phase = this.phases["storm"]
    assert (phase.counters[REQUESTS], phase.counters["remote_tlb_flush"]) == (240, 120)
    assert phase.paths == {"async_page_ready": 240} and phase.seconds >= 0
    assert this.events == {"page_ready": 600, "pages_swapped_in": 1200} | ZERO
    assert kinds(this) == []


def test_a_path_first_taken_in_the_round_and_one_not_taken(this: Measuring, world: World) -> None:
    with this.counting(l2(world), "storm"):
        world.move(**{"other:some_new_caller": 5})
    assert this.phases["storm"].paths == {"other:some_new_caller": 5}


def test_an_event_that_this_kernel_cannot_count_is_not_one_that_did_not_happen(
    this: Measuring, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {name: text for name, text in world.read().items() if name != "kvm_age_hva"}
    monkeypatch.setattr(world, "read", lambda: texts)
    with this.counting(l2(world), "storm"):
        pass
    del world.kernel.vmstat["thp_swpout"]
    with this.counting(l2(world), "again"):
        pass
    assert this.events["huge_pages_swapped_whole"] == 0, "counted before, and not since"
    assert "age_hva" not in this.events and this.events["test_age_hva"] == 0
    reading = take_reading(l2(world))
    assert reading.hits_since(reading, "kvm_age_hva") == 0


def test_events_of_several_phases_are_added_up(this: Measuring, world: World) -> None:
    for ready in (100, 500):
        with this.counting(l2(world), f"of {ready}"):
            world.move(ready=ready)
    assert this.events["page_ready"] == 600


@pytest.mark.parametrize(
    ("missing", "found"), [(0, []), (10, []), (-47, []), (11, ["storm"]), (-48, ["storm"])]
)
def test_paths_must_account_for_the_counter(
    this: Measuring, world: World, missing: int, found: list[str]
) -> None:
    with this.counting(l2(world), "storm"):
        world.move(async_page_ready=1000)
        world.kernel.count("storm", REQUESTS, missing)
    assert kinds(this) == [FindingKind.INCONSISTENT_COUNT] * len(found)
    assert [finding.text.partition(":")[0] for finding in this.findings] == found


def test_a_full_histogram_is_inconsistent(this: Measuring, world: World) -> None:
    world.kernel.dropped = 4
    with this.counting(l2(world), "before"):
        world.move(async_page_ready=1000)
    assert kinds(this) == [], "dropped before this round"
    with this.counting(l2(world), "storm"):
        world.move(async_page_ready=1000)
        world.kernel.dropped = 7
    assert kinds(this) == [FindingKind.INCONSISTENT_COUNT] and "3 requests" in this.findings[0].text


def test_counters_that_go_backwards_are_no_measurement(this: Measuring, world: World) -> None:
    with pytest.raises(LabError, match="counters went backwards"), this.counting(l2(world), "storm"):
        world.kernel.count("storm", REQUESTS, -1)


def test_what_breaks_while_counting_is_not_hidden(this: Measuring, world: World) -> None:
    with pytest.raises(GuestCrashed), this.counting(l2(world), "storm"):
        raise GuestCrashed("L2 storm: gone")
    assert this.phases == {}


def test_a_reading_takes_the_histogram_right_after_the_counter(world: World) -> None:
    """What happens between the two is counted by one of them alone."""
    take_reading(l2(world))
    assert world.asked == ["vmstat", "counters", "histograms"]


# --- judging ---------------------------------------------------------------------------------------


def test_an_event_must_happen_often_enough(this: Measuring) -> None:
    this.add_event("page_ready", 500)
    this.require("page_ready", 500)
    assert kinds(this) == []
    this.require("page_ready", 501)
    this.require("pages_swapped_in", 1)
    assert kinds(this) == [FindingKind.NOT_PROVEN] * 2
    assert "page_ready: 500" in this.findings[0].text


def test_what_is_right_is_no_finding(this: Measuring) -> None:
    this.judge(True, FindingKind.CONTENTS, "never shown")
    record = this.finish()
    assert (record.findings, record.reason) == ((), "")
    assert (record.outcome, record.correctness) == (Outcome.MEASURED, Correctness.PASS)


def test_one_wrong_finding_is_enough(this: Measuring) -> None:
    this.event, this.events = "page_ready", {"page_ready": 9}
    for correct in (True, False, True):
        this.judge(correct, FindingKind.CONTENTS, "2 of 9 pages")
    record = this.finish()
    assert (record.outcome, record.correctness) == (Outcome.MEASURED, Correctness.FAIL)
    assert kinds(this) == [FindingKind.CONTENTS] and record.reason == "2 of 9 pages"


def test_memory_that_was_not_checked_proves_nothing(this: Measuring) -> None:
    record = this.finish()
    assert (record.outcome, record.correctness) == (Outcome.INVALID, Correctness.NOT_RUN)
    assert kinds(this) == [FindingKind.NOT_PROVEN]


def test_without_an_l1_there_is_a_round_all_the_same(tmp_path: Path) -> None:
    record = Measuring(CELL, "patched", 1, tmp_path / "evidence").finish()
    assert (record.boot, record.outcome) == (0, Outcome.INVALID)


CONTENTS, LAB, LACKING = FindingKind.CONTENTS, FindingKind.LAB, FindingKind.LACKING


@pytest.mark.parametrize(
    ("found", "events", "outcome", "correctness"),
    [
        ([], 7, Outcome.MEASURED, Correctness.PASS),
        ([CONTENTS], 7, Outcome.MEASURED, Correctness.FAIL),
        ([CONTENTS], 0, Outcome.INVALID, Correctness.FAIL),  # cut short: nothing can be said per event
        ([LAB], 7, Outcome.INVALID, Correctness.PASS),
        ([LACKING], 7, Outcome.SKIPPED, Correctness.PASS),
        ([LAB, LACKING], 7, Outcome.SKIPPED, Correctness.PASS),
        ([CONTENTS, LAB], 7, Outcome.INVALID, Correctness.FAIL),
        ([CONTENTS, LACKING], 7, Outcome.MEASURED, Correctness.FAIL),
        ([LACKING, CONTENTS], 0, Outcome.INVALID, Correctness.FAIL),
    ],
)
def test_what_findings_make_of_a_round(
    this: Measuring, found: list[FindingKind], events: int, outcome: Outcome, correctness: Correctness
) -> None:
    this.event, this.events, this.checked = "page_ready", {"page_ready": events}, True
    for kind in found:
        this.find(kind, "seen")
    record = this.finish()
    assert (record.outcome, record.correctness) == (outcome, correctness)
    assert [finding.kind for finding in record.findings] == found


def test_kinds_of_one_bearing_count_alike() -> None:
    """So the table above is of all kinds."""
    wrong = {kind for kind in FindingKind if kind.bearing is Bearing.WRONG}
    assert wrong == {CONTENTS, FindingKind.WARNING, FindingKind.RATES, *WRONG.values()}
    assert [kind for kind in FindingKind if kind.bearing is Bearing.SKIPPED] == [LACKING]


# --- errors ----------------------------------------------------------------------------------------

WRONG = {
    Kind.GUEST_CRASHED: FindingKind.GUEST_CRASHED,
    Kind.GUEST_STUCK: FindingKind.STUCK,
    Kind.L1_PANICKED: FindingKind.L1_PANICKED,
    Kind.L1_REBOOTED: FindingKind.L1_REBOOTED,
}
NOTHING_PROVEN = {
    Kind.TIMED_OUT: FindingKind.TIMED_OUT,
    Kind.LINK_LOST: FindingKind.LINK_LOST,
    Kind.NOT_BOOTED: FindingKind.NOT_BOOTED,
    Kind.L1_ENDED: FindingKind.L1_ENDED,
    Kind.MACHINE_FAULT: FindingKind.MACHINE_FAULT,
    Kind.REFUSED: FindingKind.REFUSED,
    Kind.GUEST_KILLED: FindingKind.GUEST_KILLED,
    Kind.GUEST_FAILED: FindingKind.GUEST_FAILED,
    Kind.MIGRATION_FAILED: FindingKind.MIGRATION_FAILED,
}
OF_THE_LAB = (
    Kind.UNKNOWN,
    Kind.CONFIG,
    Kind.NOT_APPLIED,
    Kind.NOT_BUILT,
    Kind.LAB,
    Kind.PROCESS,
    Kind.CACHE,
    Kind.INTERNAL,
    Kind.GUEST,
    Kind.DISCONNECTED,
)


def error_of(kind: Kind) -> GuestloopError:
    """An error of this kind, as it comes from another process."""
    return errors.revive({"kind": kind, "message": "what\n  more", "hint": "look", "traceback": "in load"})


def test_every_kind_of_error_means_something_for_a_round() -> None:
    assert {
        Kind.LACKING: FindingKind.LACKING,
        **WRONG,
        **NOTHING_PROVEN,
        **dict.fromkeys(OF_THE_LAB, FindingKind.LAB),
    } == FINDINGS
    assert set(FINDINGS) == set(Kind)


@pytest.mark.parametrize("kind", Kind)
def test_an_error_becomes_a_finding_of_its_kind(this: Measuring, kind: Kind) -> None:
    this.fault(error_of(kind))
    record = this.finish()
    (finding,) = record.findings
    whole = "what\n  more" if kind is Kind.NOT_BOOTED else "what"
    assert (finding.kind, finding.text, record.reason) == (FINDINGS[kind], whole, "what")
    assert record.correctness is (Correctness.FAIL if kind in WRONG else Correctness.NOT_RUN)
    assert record.outcome is (Outcome.SKIPPED if kind is Kind.LACKING else Outcome.INVALID)


def test_all_of_an_error_is_kept(this: Measuring, tmp_path: Path) -> None:
    this.fault(error_of(Kind.PROCESS))
    (kept,) = this.evidence
    text = (tmp_path / kept).read_text()
    assert all(part in text for part in ("what", "  more", "hint: look", "in load"))


def test_what_is_lacking_needs_no_evidence(this: Measuring) -> None:
    this.fault(Lacking("no eptad on AMD"))
    assert this.evidence == []


def test_other_findings_do_not_come_from_errors() -> None:
    """Those of workloads, which have to find them themselves."""
    assert set(FindingKind) - set(FINDINGS.values()) == {
        FindingKind.CONTENTS,
        FindingKind.WARNING,
        FindingKind.RATES,
        FindingKind.NOT_PROVEN,
        FindingKind.INCONSISTENT_COUNT,
        FindingKind.INTERRUPTED,
    }


# --- evidence --------------------------------------------------------------------------------------


def test_stacks_of_the_interval_are_kept(this: Measuring, world: World, tmp_path: Path) -> None:
    with this.counting(l2(world), "storm"):
        world.move(async_page_ready=3)
    (path,) = this.evidence
    assert path == "evidence/asyncpf/shadow/read-shared/patched.2.storm.stacks.txt"
    first, *frames = (tmp_path / path).read_text().split()
    assert (first, frames[0]) == ("3", "async_page_ready"), "what was there before does not count"
    assert frames[-1] == "kvm_arch_async_page_ready"


def test_no_evidence_is_replaced(this: Measuring, tmp_path: Path) -> None:
    for text in ("first", "second", "third"):
        this.fault(GuestError(text))
    names = [path.rpartition("/")[2] for path in this.evidence]
    assert names == ["patched.2.error.txt", "patched.2.error.2.txt", "patched.2.error.3.txt"]
    assert [(tmp_path / path).read_text().split()[0] for path in this.evidence] == [
        "first",
        "second",
        "third",
    ]


# --- the record ------------------------------------------------------------------------------------


def test_the_record_sums_over_phases(this: Measuring, world: World) -> None:
    for phase, ready in (("warm", 100), ("storm", 500)):
        with this.counting(l2(world), phase):
            world.move(ready=ready, async_page_ready=ready // 5)
    this.judge(True, FindingKind.CONTENTS, "")
    this.facts["l2.kvmapf"] = "1"
    record = this.finish()
    assert set(record.phases) == {"warm", "storm"}
    assert record.counters[REQUESTS] == 120 and record.paths == {"async_page_ready": 120}
    assert (record.cell, record.kernel, record.round, record.boot) == (CELL, "patched", 2, 3)
    assert record.facts == {"release": "6.12.117", "l2.kvmapf": "1"}
    assert record.evidence == tuple(this.evidence)
    assert record.absent_paths == ("change_pte",)


def test_work_is_added_up_apart_from_events(this: Measuring) -> None:
    for visited in (40, 2):
        this.add_work(Work.VISITED, visited)
    this.add_work(Work.SCANNED, 7)
    this.work_unit = Work.SCANNED
    record = this.finish()
    assert record.work == {"pages_visited": 42, "pages_scanned": 7} and record.events == {}
    assert (record.work_unit, Work.SCANNED.unit) == ("pages_scanned", "page scanned")


def test_the_time_of_a_round_begins_with_its_l1(tmp_path: Path, world: World) -> None:
    this = Measuring(CELL, "patched", 1, tmp_path / "evidence", started=-1e9)
    this.use(cast(L1, world))
    assert this.l1 is cast(L1, world)
    assert this.finish().seconds < 60


def test_the_load_is_of_the_counting_phases_and_of_the_round(this: Measuring, world: World) -> None:
    world.work(2.0, 0.0)  # the guest boots
    with this.counting(l2(world), "storm"):
        world.work(4.0, 1.0)
    world.work(8.0, 8.0)  # contents are checked
    with this.counting(l2(world), "again"):
        world.work(1.0, 0.5)
    assert this.finish().load is None, "the round is not over"
    this.take_load()
    record = this.finish()
    load = record.load
    assert load and (load.ran_s, load.waited_s) == (5.0, 1.5)
    assert (load.round_ran_s, load.round_waited_s) == (15.0, 9.5)
    assert 0.0 <= load.host_idle <= 1.0 and 0.0 <= load.host_stolen <= 1.0
    assert world.told == ["begin", "end"] * 2, "probes must not disturb"
    assert record.slowdown == 1.3


def test_nothing_is_known_of_the_load_without_an_l1_or_without_work(tmp_path: Path, world: World) -> None:
    this = Measuring(CELL, "patched", 1, tmp_path / "evidence")
    this.take_load()
    assert (this.finish().load, this.finish().slowdown) == (None, None)
    this.use(cast(L1, world))
    this.take_load()
    assert this.finish().load and this.finish().slowdown is None


def test_a_round_survives_being_stored(this: Measuring, world: World, tmp_path: Path) -> None:
    with this.counting(l2(world), "storm"):
        world.move(ready=600, async_page_ready=240)
    this.judge(False, FindingKind.CONTENTS, "2 pages")
    this.take_load()
    record = this.finish()
    path = write_round(tmp_path, record)
    assert parse_round(json.loads(path.read_text())) == record
    assert read_rounds(tmp_path) == [record]
    with pytest.raises(FileExistsError):
        write_round(tmp_path, record)
    assert [path.name for path in path.parent.iterdir()] == ["patched.2.json"], "no partial file stays"
