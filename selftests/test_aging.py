# SPDX-License-Identifier: GPL-2.0-or-later
"""Aging from end to end, in a scripted L1: each driver, what it is judged by, and what it must prove."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import scripted
from scripted import Ended, ScriptedL1, ScriptedLab, cell

from guestloop.results.findings import FindingKind
from guestloop.results.records import Correctness, Outcome
from guestloop.results.sizes import Sizes
from guestloop.workloads.aging import Scene, scene_of
from guestloop.workloads.aging.beliefs import Belief
from guestloop.workloads.aging.driver import DirtyLog, Pages
from guestloop.workloads.aging.drivers import DRIVERS
from guestloop.workloads.aging.drivers.damon import MOST_PAGES, SAMPLES
from guestloop.workloads.aging.drivers.reclaim import MOST_CALLS
from guestloop.workloads.aging.round import judge, prove
from guestloop.workloads.measuring import Measuring

lab = scripted.lab

BY_SHARE = sorted(name for name, driver in DRIVERS.items() if driver.alternates)
"""Drivers that say of each page what they believe; the others take a few and are judged by these."""


def measure(lab: ScriptedLab, driver: str, **variant: str) -> Ended:
    return lab.measure(cell("aging", driver=driver, **variant))


def agent_calls(lab: ScriptedLab, *namespaces: str) -> list[str]:
    """Calls of these services, in order."""
    return [call.method for call in lab.calls if call.method.partition(".")[0] in namespaces]


def starts(lab: ScriptedLab) -> list[str]:
    return [line for line in lab.told("aging") if line.startswith("start ")]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_round_in_a_larger_l1(lab: ScriptedLab, driver: str) -> None:
    lab.use(Sizes.of(2))
    ended = measure(lab, driver)
    scene = scene_of(ended.record.cell.variant, 2)
    assert (ended.status, ended.kinds) == ("PASS", [])
    assert ended.record.events["pages_checked"] == scene.region_pages
    (started,) = lab.called("guests.start")
    assert "4,sockets=4" in started["argv"] and f"{scene.sizes.ram_mib}" in started["argv"]
    assert {call["most_calls"] for call in lab.called("reclaim.take")} <= {2 * MOST_CALLS}


@pytest.mark.parametrize(("pages", "dirty_log"), [("4k", "off"), ("thp", "off"), ("4k", "on")])
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_round_of_each_driver(lab: ScriptedLab, driver: str, pages: str, dirty_log: str) -> None:
    ended = measure(lab, driver, pages=pages, dirty_log=dirty_log)
    record, scene = ended.record, scene_of(ended.record.cell.variant)
    assert (ended.status, ended.kinds, record.reason) == ("PASS", [], "")
    assert (record.outcome, record.correctness) == (Outcome.MEASURED, Correctness.PASS)
    assert (record.event, record.judged) == ("aged_pages", ("clear_flush_young", "clear_young"))
    assert record.events["aged_pages"] == record.events["age_hva"] >= 2000
    assert record.events["scans"] == scene.sizes.scans
    assert record.events["touched"] > 0 and record.events["untouched"] > 0
    assert record.events["false_idle"] == record.events["false_young"] == 0
    assert (record.events["unknown"] > 0) is (driver not in BY_SHARE), (
        "what it took before is not judged again"
    )
    assert record.events["pages_checked"] == scene.region_pages
    assert record.work_unit == "pages_scanned" and record.work["pages_scanned"] > 0
    laps = scene.sizes.scans if driver != "damon" else 0  # its scripted load is stopped before it reports
    visited = record.work["pages_visited"]
    assert record.work["pages_dirtied"] == visited == laps * scene.region_pages // 2 * scene.vcpus
    assert len(record.facts["scan_seconds"].split()) == scene.sizes.scans
    assert set(record.phases) == {"scans"}
    assert record.facts.get("dirty_log", "off") == dirty_log
    huge = int(pages == "thp")
    assert f"load name=write-shared mib={scene.sizes.mib} window=4096 seed=1 thp={huge}" in lab.told("aging")
    switched = [params["wanted"].get("thp.enabled") for params in lab.called("settings.change")]
    assert [value for value in switched if value] == ["madvise", "never"] * bool(huge)
    assert record.events.get("huge_pages", 0) == huge * scene.region_pages // 512
    (watched,) = lab.called("regions.watch")
    assert (watched["ram_mib"], watched["unit"]) == (scene.sizes.ram_mib, scene.sizes.unit)


@pytest.mark.parametrize("driver", DRIVERS)
def test_each_scan_touches_the_half_that_is_judged(lab: ScriptedLab, driver: str) -> None:
    ended = measure(lab, driver)
    scene = scene_of(ended.record.cell.variant)
    counted = starts(lab)[-scene.sizes.scans :]
    parts = [scene.share(number).words for number in range(1, scene.sizes.scans + 1)]
    assert [line.split(" ", 1)[1].removeprefix("laps=1 ") for line in counted] == parts
    assert len(set(parts)) == (2 if DRIVERS[driver].alternates else 1)


@pytest.mark.parametrize(("pages", "grain"), [("4k", 1), ("thp", 512)])
def test_the_halves_take_turns_page_by_page(lab: ScriptedLab, pages: str, grain: int) -> None:
    measure(lab, "mglru", pages=pages)
    assert starts(lab) == [f"start laps=1 part={part} parts=2 grain={grain}" for part in (1, 0, 1)]


# --- what each driver does -------------------------------------------------------------------------


def test_page_idle_marks_touches_and_looks(lab: ScriptedLab) -> None:
    measure(lab, "page-idle")
    assert agent_calls(lab, "page_idle", "regions") == [
        "page_idle.lacks",
        "regions.watch",
        *["page_idle.mark", "regions.move_vcpus", "page_idle.idle"] * 3,
    ]
    assert [params["turn"] for params in lab.called("regions.move_vcpus")] == [1, 2, 3]


def test_mglru_begins_a_generation_before_and_after_the_touching(lab: ScriptedLab) -> None:
    measure(lab, "mglru")
    begin = ["mglru.age", "mglru.age", "regions.move_vcpus"]  # what was evicted is then no recent refault
    scan = [*begin, "mglru.age", "mglru.evict", "regions.swapped"]
    assert agent_calls(lab, "mglru", "regions") == [
        "mglru.lacks",
        "regions.watch",
        *scan * 3,
    ]
    assert lab.called("settings.change") == [{"wanted": {"lru_gen.enabled": on}} for on in ("7", "0")]


def test_mglru_whose_walks_do_not_ask_kvm_evicts_once_before_each_touching(lab: ScriptedLab) -> None:
    """To that eviction the pages are young that were touched in the scan before, or by the load."""
    lab.script.walks = False
    ended = measure(lab, "mglru")
    age, evict = "mglru.age", "mglru.evict"
    scan = [age, age, evict, age, age, "regions.move_vcpus", age, evict, "regions.swapped"]
    assert agent_calls(lab, "mglru", "regions")[2:] == scan * 3
    assert (ended.kinds, ended.record.events["false_young"]) == ([], 0)
    assert ended.record.facts["lru_gen.walks_ask_kvm"] == "no"


def test_damon_judges_the_second_aggregation_of_each_scan(lab: ScriptedLab) -> None:
    ended = measure(lab, "damon")
    assert agent_calls(lab, "damon") == [
        "damon.lacks",
        "damon.start",
        *["damon.watch", "damon.seen"] * 3,
        "damon.stop",
    ]
    assert lab.called("damon.start") == [
        {"name": "aging", "most": MOST_PAGES, "sample_us": 200_000, "aggregation_us": 1_000_000}
    ]
    assert {params["aggregations"] for params in lab.called("damon.watch")} == {2}
    assert [line.split()[0] for line in lab.told("aging")[2:-1]] == ["start", "stop"] * 3
    assert ended.record.events["touched"] == 3 * SAMPLES * MOST_PAGES // 2


def test_reclaim_begins_anew_and_takes_few_pages(lab: ScriptedLab) -> None:
    ended = measure(lab, "reclaim")
    takes = lab.called("reclaim.take")
    assert (len(takes), len(starts(lab))) == (8, 1 + 8)
    assert agent_calls(lab, "reclaim") == ["reclaim.reset", *["reclaim.take"] * 8]
    assert {(params["wanted"], params["most_calls"]) for params in takes} == {(4096 // 2 // 15, 60)}
    assert lab.calls[[call.method for call in lab.calls].index("guests.page_out") + 1].method == (
        "guests.command"
    ), "what is not of the region goes out before it is loaded"
    assert lab.told("aging")[0].startswith("load ")
    ram_mib = scene_of(ended.record.cell.variant).sizes.ram_mib
    out = {"name": "aging", "ram_mib": ram_mib, "timeout_s": 20.0, "pressure": False}
    assert lab.called("guests.page_out") == [out]
    assert ended.record.events["touched"] == 8 * 2048
    assert ended.record.paths["clear_flush_young"] == ended.record.events["young_pages"] == 8 * 2048
    assert ended.record.work["pages_scanned"] == ended.record.events["aged_pages"], "each look"


def test_reclaim_that_did_not_look_at_each_page_first_proves_nothing(lab: ScriptedLab) -> None:
    lab.script.reset_calls = MOST_CALLS + 1
    ended = measure(lab, "reclaim")
    assert ended.kinds == [FindingKind.NOT_PROVEN]
    assert f"did not look at each page once in {MOST_CALLS} calls" in ended.record.reason


# --- what is judged --------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
def test_more_false_idle_than_usual_is_a_finding(lab: ScriptedLab, driver: str) -> None:
    lab.script.false_idle, lab.script.overshoots = DRIVERS[driver].most_false_idle + 0.03, True
    ended = measure(lab, driver)
    assert (ended.status, ended.kinds) == ("FAIL", [FindingKind.RATES])
    assert (ended.record.outcome, ended.record.correctness) == (Outcome.MEASURED, Correctness.FAIL)
    rate = ended.record.events["false_idle"] / ended.record.events["touched"]
    assert rate == pytest.approx(lab.script.false_idle, abs=0.01)
    assert f"{rate:.0%} of the touched pages" in ended.record.reason


@pytest.mark.parametrize("driver", DRIVERS)
def test_as_much_false_idle_as_a_good_kernel_may_have(lab: ScriptedLab, driver: str) -> None:
    lab.script.false_idle, lab.script.overshoots = DRIVERS[driver].most_false_idle - 0.03, True
    ended = measure(lab, driver)
    assert ended.kinds == [] and ended.record.events["false_idle"] > 0


@pytest.mark.parametrize("driver", DRIVERS)
def test_pages_that_are_young_for_ever_are_a_finding(lab: ScriptedLab, driver: str) -> None:
    lab.script.false_young = 1.0
    ended = measure(lab, driver)
    assert (ended.kinds, ended.record.correctness) == ([FindingKind.RATES], Correctness.FAIL)
    assert ended.record.events["false_young"] == ended.record.events["untouched"] > 0
    assert "100% of the untouched pages" in ended.record.reason


@pytest.mark.parametrize(("beyond", "kinds"), [(0.03, [FindingKind.RATES]), (-0.03, [])])
@pytest.mark.parametrize("driver", BY_SHARE)
def test_the_bound_of_false_young(
    lab: ScriptedLab, driver: str, beyond: float, kinds: list[FindingKind]
) -> None:
    lab.script.false_young = DRIVERS[driver].most_false_young + beyond
    ended = measure(lab, driver)
    assert ended.kinds == kinds and ended.record.events["false_young"] > 0


def test_both_rates_may_be_wrong(lab: ScriptedLab) -> None:
    lab.script.false_idle = lab.script.false_young = 1.0
    assert measure(lab, "page-idle").kinds == [FindingKind.RATES] * 2


@pytest.mark.parametrize("driver", DRIVERS)
def test_wrong_data_is_a_finding(lab: ScriptedLab, driver: str) -> None:
    lab.script.bad_pages = 1
    assert measure(lab, driver).kinds == [FindingKind.CONTENTS]


# --- what is proven --------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
def test_without_aged_pages_a_round_is_invalid(lab: ScriptedLab, driver: str) -> None:
    lab.script.ages = False
    ended = measure(lab, driver)
    assert ended.status == "ERROR" and set(ended.kinds) == {FindingKind.NOT_PROVEN}
    assert ended.record.outcome is Outcome.INVALID
    assert "aged_pages: 0 seen, at least 1000 needed" in ended.record.reason


@pytest.mark.parametrize("name", DRIVERS)
def test_what_each_driver_must_prove(name: str, tmp_path: Path) -> None:
    """Of nothing that has happened, all is missing."""
    driver = DRIVERS[name]
    once = replace(driver.small, scans=1)
    scene = Scene(driver, Pages.SMALL, DirtyLog.OFF, once)
    this = Measuring(cell("aging", driver=name), "patched", 1, tmp_path)
    prove(this, scene)
    judge(this, scene, Belief())
    assert {finding.text.partition(":")[0] for finding in this.findings} == {
        *("scans", "aged_pages", "touched", "untouched"),
        *driver.least_events,
    }
    assert {finding.kind for finding in this.findings} == {FindingKind.NOT_PROVEN}


def test_a_few_pages_in_each_scan_are_enough_to_judge_by(tmp_path: Path) -> None:
    asked = cell("aging", driver="page-idle")
    least = 4 * scene_of(asked.variant).sizes.scans
    for count, missing in ((least, set[str]()), (least - 1, {"touched", "untouched"})):
        this = Measuring(asked, "patched", 1, tmp_path)
        judge(this, scene_of(asked.variant), Belief(touched=count, untouched=count))
        assert {finding.text.partition(":")[0] for finding in this.findings} == missing


def test_damon_must_have_looked_without_clearing(lab: ScriptedLab) -> None:
    lab.script.tests = False
    ended = measure(lab, "damon")
    assert ended.kinds == [FindingKind.NOT_PROVEN] and "test_age_hva: 0 seen" in ended.record.reason


@pytest.mark.parametrize(("seen", "kinds"), [("0x0003", []), ("0x0001", [FindingKind.NOT_PROVEN])])
def test_mglru_must_be_on_with_page_table_walks(
    lab: ScriptedLab, seen: str, kinds: list[FindingKind]
) -> None:
    lab.script.mglru = seen
    ended = measure(lab, "mglru")
    assert (ended.kinds, ended.record.facts["settings.lru_gen.enabled"]) == (kinds, seen)


def test_mglru_that_reads_back_nothing_is_not_on(lab: ScriptedLab) -> None:
    lab.script.mglru = ""
    assert measure(lab, "mglru").kinds == [FindingKind.NOT_PROVEN]


@pytest.mark.parametrize(("share", "kinds"), [(0.5, []), (0.45, [FindingKind.NOT_PROVEN])])
@pytest.mark.parametrize("driver", DRIVERS)
def test_half_of_the_region_must_be_huge_pages(
    lab: ScriptedLab, driver: str, share: float, kinds: list[FindingKind]
) -> None:
    lab.script.huge_pages = share
    ended = measure(lab, driver, pages="thp")
    wanted = int(scene_of(ended.record.cell.variant).region_pages // 512 * share)
    assert (ended.kinds, ended.record.events["huge_pages"]) == (kinds, wanted)


def test_dirty_logging_must_last_until_the_end(lab: ScriptedLab) -> None:
    lab.at("regions.move_vcpus", lambda _: setattr(lab.script, "logs", False))
    assert measure(lab, "page-idle", dirty_log="on").kinds == [FindingKind.NOT_PROVEN]
    started, *_ = lab.called("guests.qmp")
    assert started["arguments"] == {"calc_time": 60, "mode": "dirty-bitmap"}


def test_call_paths_must_account_for_the_counter(lab: ScriptedLab) -> None:
    lab.script.uncounted = 100
    assert measure(lab, "page-idle").kinds == [FindingKind.INCONSISTENT_COUNT]


# --- what is lacking -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("driver", "variant", "lacking"),
    [
        *((driver, {}, "memcg") for driver in DRIVERS),
        *((driver, {}, "page-monitor") for driver in DRIVERS),
        *((driver, {"pages": "thp"}, "thp") for driver in DRIVERS),
        *((name, {}, need) for name, driver in DRIVERS.items() for need in driver.needs),
        ("page-idle", {}, "page_idle"),
        ("mglru", {}, "mglru"),
        ("damon", {}, "damon"),
    ],
)
def test_what_l1_lacks_skips_the_round(
    lab: ScriptedLab, driver: str, variant: Mapping[str, Any], lacking: str
) -> None:
    lab.script.lacks = {lacking: f"no {lacking} here"}
    ended = measure(lab, driver, **variant)
    assert (ended.status, ended.kinds) == ("CANCEL", [FindingKind.LACKING])
    assert ended.record.reason == f"no {lacking} here" and lab.called("guests.start") == []


def test_what_the_cell_does_not_use_may_be_lacking(lab: ScriptedLab) -> None:
    lab.script.lacks = dict.fromkeys(("thp", "swap", "mglru", "damon"), "not here")
    assert measure(lab, "page-idle").status == "PASS"


def test_all_that_is_lacking_is_reported(lab: ScriptedLab) -> None:
    lab.script.lacks = {"swap": "no swap", "mglru": "no MGLRU"}
    assert measure(lab, "mglru").record.reason == "no swap; no MGLRU"


# --- rounds that break -----------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_guest_that_is_stuck_is_a_finding(lab: ScriptedLab, driver: str) -> None:
    lab.script.silent_after = "start"
    ended = measure(lab, driver)
    assert ended.kinds == [FindingKind.STUCK]
    assert (ended.record.outcome, ended.record.correctness) == (Outcome.INVALID, Correctness.FAIL)


def test_damon_is_ended_when_the_round_breaks(lab: ScriptedLab) -> None:
    lab.script.ends_at = "start"
    assert measure(lab, "damon").kinds == [FindingKind.GUEST_CRASHED]
    assert agent_calls(lab, "damon")[-1] == "damon.stop"


def test_mglru_is_off_again_when_the_round_breaks(lab: ScriptedLab) -> None:
    lab.script.ends_at = "start"
    assert measure(lab, "mglru").kinds == [FindingKind.GUEST_CRASHED]
    assert lab.called("settings.change")[-1] == {"wanted": {"lru_gen.enabled": "0"}}


@pytest.mark.parametrize(
    ("driver", "method"), [("damon", "damon.watch"), ("mglru", "mglru.age"), ("reclaim", "reclaim.take")]
)
def test_an_l1_that_panics_in_a_scan_is_found_once(lab: ScriptedLab, driver: str, method: str) -> None:
    lab.at(method, ScriptedL1.panic)
    ended = measure(lab, driver)
    assert (ended.status, ended.kinds) == ("FAIL", [FindingKind.L1_PANICKED])


# --- drivers are found by being there --------------------------------------------------------------


def test_every_driver_has_a_name_of_its_own_and_sizes() -> None:
    assert set(DRIVERS) >= {"reclaim", "page-idle", "mglru", "damon"}
    for name, driver in DRIVERS.items():
        assert driver.name == name and type(driver).__doc__
        for sizes in (driver.small, driver.huge):
            assert sizes.mib < sizes.ram_mib and sizes.scans >= 3
