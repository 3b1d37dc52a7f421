# SPDX-License-Identifier: GPL-2.0-or-later
"""Async page faults from end to end, in a scripted L1: what is done, what is counted, what is found."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import scripted
from scripted import ScriptedL1, ScriptedLab, cell

from guestloop.results.findings import Finding, FindingKind
from guestloop.results.records import Correctness, Outcome
from guestloop.results.sizes import Sizes
from guestloop.workloads import asyncpf
from guestloop.workloads.asyncpf import DIRTY_ROUNDS, THROTTLED_READS, Load, Way
from guestloop.workloads.measuring import Measuring

lab = scripted.lab

CYCLES = 2
PAGES = 1024  # of the region
READY = 400  # in each lap, see scripted.Script
FLUSHES = 160


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("load", Load)
def test_a_round_of_each_load_and_way(lab: ScriptedLab, load: Load, way: Way) -> None:
    ended = lab.measure(cell("asyncpf", load=load, way=way), number=3)
    record = ended.record
    assert (ended.status, record.outcome, record.correctness) == ("PASS", Outcome.MEASURED, Correctness.PASS)
    assert ended.kinds == [] and record.reason == ""
    assert (record.event, record.judged) == ("page_ready", ("async_page_ready",))
    assert record.incidental == ("clear_flush_young",)
    assert record.events["page_ready"] == CYCLES * READY
    assert record.events["pages_swapped_in"] == record.events["pages_swapped_out"] == CYCLES * PAGES
    assert record.events["reads"] == CYCLES * PAGES * (1 if load is Load.READ_OWN else 4)
    assert record.events["pages_checked"] == PAGES
    assert record.paths == {"async_page_ready": CYCLES * FLUSHES}
    assert record.counters["remote_tlb_flush_requests"] == CYCLES * FLUSHES
    assert set(record.phases) == {"storm"} and record.seconds > 0
    assert record.facts["l2.kvmapf"] == "1" and record.facts["kvm.tdp_mmu"] == "Y"
    thp = int(way is Way.THP)
    assert lab.told("storm") == [
        f"load name={load} mib=4 window=16 seed=3 thp={thp}",
        *["start laps=1"] * CYCLES,
        "check",
    ]


def test_a_round_in_a_larger_l1(lab: ScriptedLab) -> None:
    lab.use(Sizes.of(4))
    ended = lab.measure(cell("asyncpf", vcpus="16"))
    assert (ended.status, ended.kinds) == ("PASS", [])
    assert "load name=read-shared mib=16 window=16 seed=1 thp=0" in lab.told("storm")
    assert [out["ram_mib"] for out in lab.called("guests.page_out")] == [384] * CYCLES
    (started,) = lab.called("guests.start")
    argv = started["argv"]
    assert argv[argv.index("-smp") + 1] == "16,sockets=16" and argv[argv.index("-m") + 1] == "384"
    sizes = {name: value for name, value in ended.record.facts.items() if name.startswith("sizes.")}
    assert sizes == Sizes.of(4).facts and sizes["sizes.l1_cpus"] == "8"


def test_pages_go_out_before_each_lap(lab: ScriptedLab) -> None:
    lab.measure(cell("asyncpf"))
    order = [call.method for call in lab.calls if call.method in ("guests.page_out", "guests.finish_lap")]
    assert order == ["guests.page_out", "guests.finish_lap"] * CYCLES
    out = {"name": "storm", "ram_mib": 96, "timeout_s": 20.0, "pressure": False}
    assert lab.called("guests.page_out") == [out] * CYCLES


@pytest.mark.parametrize(("kvmapf", "vcpus"), [("on", "2"), ("off", "4")])
def test_the_guest_is_the_one_that_the_cell_names(lab: ScriptedLab, kvmapf: str, vcpus: str) -> None:
    lab.script.kvmapf = kvmapf == "on"
    ended = lab.measure(cell("asyncpf", kvmapf=kvmapf, vcpus=vcpus))
    (started,) = lab.called("guests.start")
    words = " ".join(started["argv"])
    assert f"-smp {vcpus}," in words and ("no-kvmapf" in words) is (kvmapf == "off")
    assert started["incoming"] is False
    assert ended.status == "PASS" and ended.record.events["reads"] == CYCLES * PAGES * int(vcpus)
    assert ended.record.work == {"pages_visited": CYCLES * PAGES * int(vcpus), "pages_dirtied": 0}
    assert ended.record.work_unit == "pages_visited"


# --- ways ------------------------------------------------------------------------------------------


def test_under_pressure_pages_go_out_by_reclaim(lab: ScriptedLab) -> None:
    lab.measure(cell("asyncpf", way="pressure"))
    assert [params["pressure"] for params in lab.called("guests.page_out")] == [True] * CYCLES


@pytest.mark.parametrize("silent_after", ["", "check"])
def test_the_swap_disk_is_throttled_for_the_round_alone(lab: ScriptedLab, silent_after: str) -> None:
    lab.script.silent_after = silent_after
    lab.measure(cell("asyncpf", way="throttled"))
    limits = [arguments["iops_rd"] for _, arguments in lab.l1.recorded.executed]
    assert limits == [THROTTLED_READS, 0], "also when the round breaks"
    lab.measure(cell("asyncpf", way="pageout"))
    assert len(lab.l1.recorded.executed) == 2


@pytest.mark.parametrize(
    ("counted", "paged_out"),
    [
        ({"huge_pages_split": 2}, True),
        ({"huge_pages_swapped_whole": 2}, True),  # as newer kernels do
        ({"huge_pages_swapped_whole": 1, "huge_pages_split": 1}, True),
        ({"huge_pages_swapped_whole": 1}, False),
    ],
)
def test_a_huge_page_is_paged_out_whole_or_in_pieces(
    counted: dict[str, int], paged_out: bool, tmp_path: Path
) -> None:
    this = Measuring(cell("asyncpf", way="thp"), "patched", 1, tmp_path, events=dict(counted))
    asyncpf._prove(this, asyncpf.Storm(way=Way.THP), asyncpf.Tally())
    assert ("huge_pages_paged_out" not in not_proven(this.findings)) is paged_out


def test_huge_pages_must_have_been_there_to_be_split(lab: ScriptedLab) -> None:
    assert lab.measure(cell("asyncpf", way="thp")).record.events["huge_pages_split"] == 4
    lab.script.splits = False
    ended = lab.measure(cell("asyncpf", way="thp"), number=2)
    assert ended.kinds == [FindingKind.NOT_PROVEN] and ended.record.outcome is Outcome.INVALID
    lab.measure(cell("asyncpf"))
    switched = [params["wanted"] for params in lab.called("settings.change")]
    assert switched == [{"thp.enabled": value} for value in ("madvise", "never") * 2]


def test_dirty_rounds_complete_during_the_storm(lab: ScriptedLab) -> None:
    ended = lab.measure(cell("asyncpf", way="dirty-log"))
    commands = [params["command"] for params in lab.called("guests.qmp")]
    assert commands.count("calc-dirty-rate") == ended.record.events["dirty_rounds"] == CYCLES * DIRTY_ROUNDS
    assert lab.called("guests.qmp")[0]["arguments"] == {"calc_time": 1, "mode": "dirty-bitmap"}
    methods = [call.method for call in lab.calls]
    assert methods.index("guests.qmp") < methods.index("guests.finish_lap")


# --- what is found ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bent", "kind"),
    [
        ({"bad_pages": 2}, FindingKind.CONTENTS),
        ({"bad_visits": 3}, FindingKind.CONTENTS),
    ],
)
def test_wrong_data_is_a_finding(lab: ScriptedLab, bent: dict[str, int], kind: FindingKind) -> None:
    vars(lab.script).update(bent)
    ended = lab.measure(cell("asyncpf"))
    assert (ended.status, ended.kinds) == ("FAIL", [kind])
    assert (ended.record.outcome, ended.record.correctness) == (Outcome.MEASURED, Correctness.FAIL)


def test_wrong_pages_are_counted_and_some_are_shown(lab: ScriptedLab) -> None:
    lab.script.bad_pages = 9
    reason = lab.measure(cell("asyncpf")).record.reason
    assert "9 of 1024" in reason and reason.count("bad page=") == 4


def not_proven(findings: Iterable[Finding]) -> set[str]:
    """What a round did not prove: the events, or what else the findings begin with."""
    return {item.text.partition(":")[0] for item in findings if item.kind is FindingKind.NOT_PROVEN}


@pytest.mark.parametrize(
    ("bent", "missing"),
    [
        ({"ready": 249}, {"page_ready"}),  # 498 events, 500 are needed
        ({"swaps": False}, {"page_ready", "pages_swapped_in"}),
        ({"loses_pages": True}, {"no page was checked"}),
        ({"kvmapf": False}, {"paravirtual async page faults"}),  # although they were asked for
    ],
)
def test_a_round_that_proves_nothing_is_invalid(
    lab: ScriptedLab, bent: dict[str, object], missing: set[str]
) -> None:
    vars(lab.script).update(bent)
    ended = lab.measure(cell("asyncpf"))
    assert ended.status == "ERROR" and set(ended.kinds) == {FindingKind.NOT_PROVEN}
    assert not_proven(ended.record.findings) == missing
    assert (ended.record.outcome, ended.record.correctness) == (Outcome.INVALID, Correctness.PASS)


@pytest.mark.parametrize(
    ("way", "further"),
    [
        (Way.PAGEOUT, set()),
        (Way.PRESSURE, set()),
        (Way.THROTTLED, set()),
        (Way.THP, {"huge_pages_paged_out"}),
        (Way.DIRTY_LOG, {"dirty_rounds"}),
    ],
)
def test_what_each_way_must_prove(way: Way, further: set[str], tmp_path: Path) -> None:
    """Of nothing that has happened, all is missing."""
    this = Measuring(cell("asyncpf"), "patched", 1, tmp_path)
    asyncpf._prove(this, asyncpf.Storm(way=way), asyncpf.Tally())
    assert not_proven(this.findings) == {"page_ready", "pages_swapped_in", "reads"} | further


@pytest.mark.parametrize(
    ("ready", "waited", "kinds"),
    [
        (8, 600, {FindingKind.LACKING}),
        (500, 600, set()),  # shared pages: others wait for them
        (8, 500, {FindingKind.NOT_PROVEN}),  # half of the pages came without a wait
        (8, 0, {FindingKind.NOT_PROVEN}),
    ],
)
def test_a_kernel_that_waits_for_its_swap_lacks_asynchronous_faults(
    ready: int, waited: int, kinds: set[FindingKind], tmp_path: Path
) -> None:
    events = {"page_ready": ready, "pages_swapped_in": 1000, "swap_reads_waited_for": waited}
    this = Measuring(cell("asyncpf"), "patched", 1, tmp_path, events=events)
    asyncpf._prove(this, asyncpf.Storm(), asyncpf.Tally(reads=1000))
    assert {item.kind for item in this.findings} == kinds


@pytest.mark.parametrize(("uncounted", "kinds"), [(1, []), (3, [FindingKind.INCONSISTENT_COUNT])])
def test_call_paths_must_account_for_the_counter(
    lab: ScriptedLab, uncounted: int, kinds: list[FindingKind]
) -> None:
    """Of 320 requests 1 % may be missing: 2 are fine, 6 are not."""
    lab.script.uncounted = uncounted
    assert lab.measure(cell("asyncpf")).kinds == kinds


@pytest.mark.parametrize(("lost", "kinds"), [(7, []), (8, [FindingKind.INCONSISTENT_COUNT])])
def test_kvm_may_lose_some_of_its_own_counts(lab: ScriptedLab, lost: int, kinds: list[FindingKind]) -> None:
    """Of 160 requests, twice: KVM counted 306 or 304, and the paths have 320."""
    lab.script.lost = lost
    assert lab.measure(cell("asyncpf")).kinds == kinds


def test_other_requests_to_all_vcpus_are_counted_by_request_and_path(lab: ScriptedLab) -> None:
    lab.script.root_loads = 7
    record = lab.measure(cell("asyncpf")).record
    assert record.requests == {"mmu_free_obsolete_roots/memslot": CYCLES * 7}
    assert "memslot" not in record.paths, "they are no flushes"
    assert record.events["root_loads"] == CYCLES * 7
    (stacks,) = (lab.out / name for name in record.evidence if name.endswith("stacks.txt"))
    assert f"{CYCLES * 7} mmu_free_obsolete_roots/memslot" in stacks.read_text().splitlines()


@pytest.mark.parametrize("need", ["memcg", "swap", "read-ahead"])
def test_what_l1_lacks_skips_the_round_before_a_guest_starts(lab: ScriptedLab, need: str) -> None:
    lab.script.lacks = {need: f"no {need} here"}
    ended = lab.measure(cell("asyncpf"))
    assert (ended.status, ended.kinds) == ("CANCEL", [FindingKind.LACKING])
    assert (ended.record.outcome, ended.record.reason) == (Outcome.SKIPPED, f"no {need} here")
    assert lab.called("guests.start") == [] and ended.record.evidence == ()


def test_huge_pages_are_needed_where_the_way_uses_them(lab: ScriptedLab) -> None:
    lab.script.lacks = {"thp": "no THP here"}
    assert lab.measure(cell("asyncpf", way="thp")).record.outcome is Outcome.SKIPPED
    assert lab.measure(cell("asyncpf")).record.outcome is Outcome.MEASURED


@pytest.mark.parametrize("spins", [False, True])
def test_a_lap_that_never_ends_is_a_finding_with_its_counts(lab: ScriptedLab, spins: bool) -> None:
    """The payload answers the first lap, and nothing after the second has begun."""
    lab.script.spins = spins
    lab.at("guests.finish_lap", lambda _: setattr(lab.script, "silent_after", "start"))
    ended = lab.measure(cell("asyncpf"))
    assert (ended.status, ended.kinds) == ("FAIL", [FindingKind.STUCK])
    record = ended.record
    assert (record.outcome, record.correctness) == (Outcome.MEASURED, Correctness.FAIL)
    assert record.events["page_ready"] == READY, "what was counted until then is there"
    assert record.paths == {"async_page_ready": FLUSHES}
    assert lab.told("storm")[-1] == "start laps=1", "a guest that is stuck is asked for nothing more"


def test_a_guest_that_is_stuck_before_any_event_proves_none(lab: ScriptedLab) -> None:
    lab.script.silent_after = "start"
    record = lab.measure(cell("asyncpf")).record
    assert (record.outcome, record.correctness) == (Outcome.INVALID, Correctness.FAIL)


@pytest.mark.parametrize(
    ("panic", "status", "kind", "correctness"),
    [
        ("Kernel panic - not syncing: Attempted", 0, FindingKind.GUEST_CRASHED, Correctness.FAIL),
        ("", 0, FindingKind.GUEST_CRASHED, Correctness.FAIL),
        ("", -9, FindingKind.GUEST_KILLED, Correctness.NOT_RUN),
        ("", 1, FindingKind.GUEST_FAILED, Correctness.NOT_RUN),
    ],
)
@pytest.mark.parametrize("verb", ["load", "start"])
def test_how_a_guest_ended_says_whether_it_is_a_finding(
    lab: ScriptedLab, verb: str, panic: str, status: int, kind: FindingKind, correctness: Correctness
) -> None:
    lab.script.ends_at, lab.script.panic, lab.script.status = verb, panic, status
    ended = lab.measure(cell("asyncpf"))
    assert ended.kinds == [kind]
    assert (ended.record.outcome, ended.record.correctness) == (Outcome.INVALID, correctness)
    (kept,) = ended.record.evidence
    assert kept.endswith("patched.1.error.txt") and panic in (lab.out / kept).read_text()


def test_the_next_round_is_none_the_worse(lab: ScriptedLab) -> None:
    lab.script.ends_at = "start"
    lab.measure(cell("asyncpf"))
    lab.script.ends_at = ""
    ended = lab.measure(cell("asyncpf"), number=2)
    assert (ended.status, ended.record.boot) == ("PASS", 1), "in the same L1"


def test_a_stuck_guest_whose_l1_then_panics_is_found_to_be_both(lab: ScriptedLab) -> None:
    """What ends the guest must not replace what was found about it."""
    lab.script.silent_after = "check"
    lab.at("guests.stop", ScriptedL1.panic)
    ended = lab.measure(cell("asyncpf"))
    assert ended.kinds == [FindingKind.STUCK, FindingKind.L1_PANICKED]
