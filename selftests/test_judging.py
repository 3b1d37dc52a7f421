# SPDX-License-Identifier: GPL-2.0-or-later
"""What was judged wrongly once, as a table: the counts of two kernels, what they come to, and why.

Each stands with two rounds and with one, where how widely rounds scatter is known from good kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from samples import CANDIDATE, REFERENCE, A, B, compare, make_round, plan_of

from guestloop.compare import CandidateVerdict, Kind, Overall, Status, Verdict
from guestloop.compare import compare as uncalibrated
from guestloop.ground.errors import Exit
from guestloop.results.cells import Cell, Mmu
from guestloop.results.changes import ChangedFunction, Changes, Probed
from guestloop.results.findings import Finding, FindingKind
from guestloop.results.load import Load
from guestloop.results.plan import PlannedKernel, Reach
from guestloop.results.provenance import Expectation, Trend
from guestloop.results.records import Correctness, Round

CELL = Cell("aging", Mmu.DIRECT, {"driver": "reclaim"})
SERIES = replace(CANDIDATE, reach=Reach())
RELEASE = replace(SERIES, release="7.2.13", base="linux-image-cloud-amd64", series=())
CONFIGURED = replace(SERIES, options={"CONFIG_HZ": "1000"}, series=())
PLAIN = replace(REFERENCE, options={"CONFIG_HZ": "250"})

WORK: dict[str, Any] = {"work": {"pages_visited": 8192}, "work_unit": "pages_visited"}


@dataclass(frozen=True)
class Counts:
    """What each round of a kernel counts."""

    paths: Mapping[str, int]
    events: Mapping[str, int] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    requests: Mapping[str, int] = field(default_factory=dict)
    ready: int = 2000
    work: Mapping[str, Any] = field(default_factory=lambda: WORK)

    def round(self, kernel: str, number: int) -> Round:
        made = make_round(CELL, kernel, number, 0, self.ready, paths=dict(self.paths), **self.work)
        return replace(
            made,
            events={**made.events, **self.events},
            counters={**made.counters, **self.counters},
            requests=self.requests,
        )


def judged(
    before: Counts,
    after: Counts,
    rounds: int = 2,
    *,
    candidate: PlannedKernel = SERIES,
    reference: PlannedKernel = REFERENCE,
) -> Verdict:
    numbers = range(1, rounds + 1)
    measured = [
        counts.round(kernel, number) for number in numbers for kernel, counts in ((A, before), (B, after))
    ]
    return compare(plan_of(reference, candidate, cells=(CELL,), rounds=rounds), measured)


def only(verdict: Verdict) -> CandidateVerdict:
    (cell,) = verdict.cells
    return cell.candidates[B]


QUIET: dict[str, int] = {"async_page_ready": 0}
OUT = {"pages_swapped_out": 8000}
USUAL = Counts({**QUIET, "mmu_notifier_unmap": 8000}, OUT)
AGED = Counts(
    {**QUIET, "mmu_notifier_unmap": 8000}, {**OUT, "age_hva": 38900, "touched": 4096, "false_idle": 0}
)


@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize(
    ("before", "after", "status", "exit_status", "says"),
    [
        pytest.param(
            USUAL,
            Counts({**QUIET, "mmu_notifier_unmap": 12800}, OUT),
            Status.MORE,
            Exit.REGRESSION,
            "mmu_notifier_unmap 1.000 -> 1.600 per page paged out",
            id="unmaps-x1.6",
        ),
        pytest.param(
            USUAL,
            Counts({**QUIET, "mmu_notifier_unmap": 12800}, {"pages_swapped_out": 12800}),
            Status.MORE,
            Exit.REGRESSION,
            "all flush requests 0.977 -> 1.562 per page visited",
            id="more-is-paged-out-for-the-same-work",
        ),
        pytest.param(
            USUAL,
            Counts(QUIET, OUT),
            Status.UNEXPLAINED,
            Exit.INCONCLUSIVE,
            "mmu_notifier_unmap 1.000 -> 0 per page paged out: a flush there protects data",
            id="vanished-unmap-flush",
        ),
        pytest.param(
            Counts({**QUIET, "dirty_log": 600}, {"dirty_log_syncs": 600}),
            Counts({**QUIET, "dirty_log": 0}, {"dirty_log_syncs": 600}),
            Status.UNEXPLAINED,
            Exit.INCONCLUSIVE,
            "dirty_log 1.000 -> 0 per log sync",
            id="vanished-write-protection-flush",
        ),
        pytest.param(
            AGED,
            replace(AGED, events={**AGED.events, "false_idle": 389}),
            Status.MORE,
            Exit.REGRESSION,
            "false idle 0.0 % -> 9.5 % of touched pages",
            id="false-idle",
        ),
        pytest.param(
            AGED,
            replace(AGED, paths={**AGED.paths, "clear_young": 366}),
            Status.MORE,
            Exit.REGRESSION,
            "clear_young 0 -> 0.0094 per aged page",
            id="clear-young",
        ),
        pytest.param(
            Counts({**QUIET, "dirty_log": 1500, "dirty_logging_off": 29}, {"dirty_log_syncs": 4000}),
            Counts({**QUIET, "dirty_log": 1500, "dirty_logging_off": 1}, {"dirty_log_syncs": 4000}),
            Status.FEWER,
            Exit.OK,
            "dirty_logging_off 0.0035 -> 0.00012 per page visited",
            id="batched-flush",
        ),
        pytest.param(
            Counts({**QUIET, "dirty_log": 4000, "dirty_logging_off": 29}, {"dirty_log_syncs": 4000}),
            Counts({**QUIET, "dirty_log": 4000, "dirty_logging_off": 1}, {"dirty_log_syncs": 4000}),
            Status.SAME,
            Exit.OK,
            "",
            id="batched-flush-below-the-floor-of-the-total",
        ),
        pytest.param(
            Counts({**QUIET, "mmu_notifier_unmap": 8000}, OUT, {"pf_taken": 7383}),
            Counts({**QUIET, "mmu_notifier_unmap": 8000}, OUT, {"pf_taken": 222087}),
            Status.MORE,
            Exit.REGRESSION,
            "page faults 0.901 -> 27.110 per page visited",
            id="faults-x30",
        ),
        pytest.param(
            Counts({"async_page_ready": 4000}, {}, {"pf_taken": 7383}),
            Counts({"async_page_ready": 4}, {}, {"pf_taken": 222087}),
            Status.MORE,
            Exit.REGRESSION,
            "page faults",
            id="fewer-flushes-do-not-pay-for-faults",
        ),
        pytest.param(
            Counts({**QUIET}),
            Counts({**QUIET, "zap": 1261}),
            Status.MORE,
            Exit.REGRESSION,
            "zap 0 -> 0.154 per page visited",
            id="from-nothing",
        ),
    ],
)
def test_table(
    before: Counts, after: Counts, status: Status, exit_status: Exit, says: str, rounds: int
) -> None:
    verdict = judged(before, after, rounds)
    seen = only(verdict)
    assert seen.status is status, seen.reason
    assert verdict.exit_status is exit_status and says in seen.reason


def test_what_unmaps_follow_is_what_is_paged_out() -> None:
    """A plain run of a good patch: unmaps per aged page x2.4, and nothing had changed."""
    aged = {"age_hva": 6029}
    before = Counts({**QUIET, "mmu_notifier_unmap": 1264}, {**aged, "pages_swapped_out": 1264}, ready=2000)
    after = replace(
        before,
        paths={**QUIET, "mmu_notifier_unmap": 1619},
        events={"age_hva": 3318, "pages_swapped_out": 1619},
    )
    (unmaps,) = (one for one in only(judged(before, after)).paths if one.name == "mmu_notifier_unmap")
    assert unmaps.statement.unit == "page paged out" and unmaps.judgement.ratio == 1.0


def test_reclaim_that_goes_over_its_lists_again_is_no_difference() -> None:
    """Seen in one round of six on good kernels, whatever the room that reclaim was left."""
    once = reclaimed(looks=2923, young=1343)
    again = reclaimed(looks=7462, young=5604)
    for before, after in ((once, again), (again, once)):
        for item in (seen := only(judged(before, after, 1))).comparisons:
            assert item.change == "same", item.render()
        assert seen.status is Status.SAME


def reclaimed(looks: int, young: int, flushes: int | None = None) -> Counts:
    """A round of aging by reclaim, in which 1400 pages are paged out."""
    paths = {"clear_flush_young": young if flushes is None else flushes, "mmu_notifier_unmap": 1400}
    events = {"age_hva": looks, "young_pages": young, "pages_swapped_out": 1400}
    work = {"work": {"pages_visited": 16384, "pages_scanned": looks}, "work_unit": "pages_scanned"}
    return Counts(paths, events, {"exits": 4500}, ready=looks, work=work)


@pytest.mark.parametrize(("flushes", "change"), [(1343 * 2, "more"), (0, "fewer")])
def test_a_young_page_that_costs_another_number_of_flushes(flushes: int, change: str) -> None:
    seen = only(judged(reclaimed(2923, 1343), reclaimed(2923, 1343, flushes), 1))
    (young,) = (one for one in seen.paths if one.name == "clear_flush_young")
    assert (young.statement.unit, young.change) == ("young page", change)


@pytest.mark.parametrize(("out", "decides"), [(8000, True), (56000, False)])
def test_faults_on_pages_that_l1_paged_out_once_more_are_no_cost_of_kvm(out: int, decides: bool) -> None:
    before = Counts({**QUIET, "mmu_notifier_unmap": 2000}, OUT, {"pf_taken": 6257})
    after = Counts({**QUIET, "mmu_notifier_unmap": out // 4}, {"pages_swapped_out": out}, {"pf_taken": 24899})
    seen = only(judged(before, after, candidate=SERIES))
    (faults,) = (one for one in seen.comparisons if one.name == "page faults")
    assert faults.change == "more"
    assert ("page faults" in seen.reason) is decides, seen.reason


@pytest.mark.parametrize(("paged_in", "decides"), [(155, True), (234, False)])
def test_faults_on_pages_that_a_longer_reclaim_took_are_no_cost_of_kvm(paged_in: int, decides: bool) -> None:
    """Seen on a good kernel: 319 faults where reclaim had gone over its lists again, and 31 otherwise."""
    usual, longer = reclaimed(2923, 1343), reclaimed(7735, 5082)
    before = replace(usual, events={**usual.events, "pages_swapped_in": 139}, counters={"pf_taken": 31})
    after = replace(
        longer, events={**longer.events, "pages_swapped_in": paged_in}, counters={"pf_taken": 319}
    )
    seen = only(judged(before, after, candidate=SERIES))
    (faults,) = (one for one in seen.comparisons if one.name == "page faults")
    assert faults.change == "more"
    assert ("page faults" in seen.reason) is decides, seen.reason


def test_a_declared_loss_of_a_flush_is_explained() -> None:
    declared = replace(SERIES, expect=(Expectation("mmu_notifier_unmap", Trend.FEWER),))
    verdict = judged(USUAL, Counts(QUIET, OUT), candidate=declared)
    assert (only(verdict).status, verdict.exit_status) == (Status.FEWER, Exit.OK)


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_real_improvement_is_seen_where_it_matters(rounds: int) -> None:
    """A migration that is cancelled: the flush when dirty logging goes off, batched."""
    before, after = (Counts({**QUIET, "dirty_logging_off": count, "page_fault": 30}) for count in (29, 1))
    seen = only(judged(before, after, rounds))
    (off,) = (one for one in seen.paths if one.name == "dirty_logging_off")
    assert off.change == "fewer" and off.judgement.certain


# --- flushes that became something else ----------------------------------------------------------------

ROOTS = {"mmu_free_obsolete_roots/zap": 900}


@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize(
    ("faults", "expect", "status", "exit_status"),
    [
        (60000, (), Status.MORE, Exit.REGRESSION),
        (7400, (), Status.MOVED, Exit.INCONCLUSIVE),
        (7400, (Expectation("zap", Trend.FEWER),), Status.MOVED, Exit.OK),
    ],
)
def test_a_flush_that_became_a_reload_of_roots(
    faults: int, expect: tuple[Expectation, ...], status: Status, exit_status: Exit, rounds: int
) -> None:
    before = Counts({**QUIET, "zap": 900}, {}, {"pf_taken": 7383})
    after = Counts({**QUIET, "zap": 0}, {}, {"pf_taken": faults}, ROOTS)
    verdict = judged(before, after, rounds, candidate=replace(SERIES, expect=expect))
    assert (only(verdict).status, verdict.exit_status) == (status, exit_status)
    if status is Status.MOVED:
        assert only(verdict).reason.startswith("mmu_free_obsolete_roots/zap 0 -> 0.110 per page visited, ")


def test_a_new_request_in_place_of_nothing_is_more() -> None:
    verdict = judged(Counts(QUIET), Counts(QUIET, requests=ROOTS))
    assert (only(verdict).status, verdict.exit_status) == (Status.MORE, Exit.REGRESSION)


def test_requests_that_are_not_about_translations_decide_nothing() -> None:
    devices = {"scan_ioapic/other:kvm_make_scan_ioapic_request": 900}
    seen = only(judged(Counts(QUIET), Counts(QUIET, requests=devices)))
    assert seen.status is Status.SAME
    assert [one.name for one in seen.comparisons if one.change == "more"] == list(devices)


# --- load ----------------------------------------------------------------------------------------------


def loaded(item: Round, slowdown: float) -> Round:
    return replace(item, load=Load(10.0, 10.0 * (slowdown - 1), 10.0, 0.0, 0.5, 0.0))


def under_load(slow: Mapping[str, tuple[float, ...]], ready: Mapping[str, int]) -> Verdict:
    """Rounds of two kernels, each slowed down by so much."""
    counts = {name: Counts({"async_page_ready": count}) for name, count in ready.items()}
    rounds = [
        loaded(counts[name].round(name, number), slowdown)
        for name, own in slow.items()
        for number, slowdown in enumerate(own, 1)
    ]
    return compare(plan_of(REFERENCE, SERIES, cells=(CELL,)), rounds)


def test_rounds_of_unlike_load_are_not_compared() -> None:
    """One busy loop during all of B's rounds and none of A's."""
    verdict = under_load({A: (1.2, 1.2), B: (1.8, 1.9)}, {A: 600, B: 900})
    seen = only(verdict)
    assert (seen.status, verdict.exit_status) == (Status.INCONCLUSIVE, Exit.INCONCLUSIVE)
    assert "the load of the machine changed" in seen.reason and seen.rounds_wanted and seen.unlike_load == 2


def test_a_smoke_run_is_no_verdict_on_cost_under_unlike_load_either() -> None:
    rounds = [
        loaded(Counts({"async_page_ready": 600}).round(name, 1), slow) for name, slow in ((A, 1.2), (B, 1.9))
    ]
    plan = replace(plan_of(REFERENCE, SERIES, cells=(CELL,), rounds=1), correctness_only=True)
    verdict = compare(plan, rounds)
    assert (only(verdict).status, verdict.exit_status) == (Status.SAME, Exit.OK)
    assert only(verdict).reason.startswith("no verdict on cost: the load of the machine changed")


def test_partners_of_like_load_are_compared_whatever_the_load() -> None:
    verdict = under_load({A: (1.2, 3.0, 1.2), B: (1.8, 3.1, 1.3)}, {A: 600, B: 605})
    seen = only(verdict)
    assert (seen.status, seen.used, seen.unlike_load) == (Status.SAME, (2, 2), 1)


# --- what ran of what differs --------------------------------------------------------------------------

SPTE = ChangedFunction("kvm", "mmu_spte_update", ("mmu_spte_update",), ("mmu_spte_update",))
CHANGED = replace(SERIES, changes=Changes((SPTE,)))
ELSEWHERE = replace(CHANGED, reach=Reach((Mmu.SHADOW,), "only shadow paging calls it"))


def probed(
    candidate: PlannedKernel, hits: Mapping[str, int], rounds: int = 2, late: bool = True
) -> CandidateVerdict:
    """The first round of each kernel ran with a probe on the function that differs.

    ``late``: the function was not called before counting began, so the probe was still there.
    """
    measured = [
        USUAL.round(kernel, number) for number in range(1, rounds + 1) for kernel in (REFERENCE.name, B)
    ]
    measured = [
        replace(item, probed=Probed(own, {}, own[SPTE.id] * late)) if item.round == 1 else item
        for item in measured
        for own in ({SPTE.id: hits[item.kernel]},)
    ]
    plan = plan_of(REFERENCE, candidate, cells=(CELL,), rounds=1)
    return only(compare(plan, measured))


@pytest.mark.parametrize("candidate", [CHANGED, ELSEWHERE])
def test_where_nothing_that_differs_runs_nothing_can_differ(candidate: PlannedKernel) -> None:
    seen = probed(candidate, {A: 0, B: 0})
    assert seen.status is Status.CANNOT_DIFFER and seen.used == (2, 2)
    assert seen.reason == "no function that differs between the two kernels ran in this cell"


def test_a_kernel_against_itself_is_the_same_and_not_said_to_be_unable_to_differ() -> None:
    twin = replace(REFERENCE, name=B, changes=Changes())
    assert only(judged(USUAL, USUAL, candidate=twin)).status is Status.SAME


def test_a_round_in_which_a_probe_was_hit_gives_no_rate() -> None:
    seen = probed(CHANGED, {A: 0, B: 9})
    assert (seen.status, seen.used) == (Status.SAME, (2, 1))
    alone = probed(CHANGED, {A: 9, B: 9}, rounds=1)
    assert alone.status is Status.INCONCLUSIVE and alone.rounds_wanted
    assert "probes on the functions that differ were hit" in alone.reason


def test_a_probe_that_was_removed_before_counting_began_costs_no_round() -> None:
    seen = probed(CHANGED, {A: 9, B: 9}, rounds=1, late=False)
    assert (seen.status, seen.used) == (Status.SAME, (1, 1))


def test_a_declared_reach_that_what_was_seen_speaks_against() -> None:
    seen = probed(ELSEWHERE, {A: 9, B: 9})
    assert seen.status is Status.CANNOT_DIFFER
    assert seen.reason == (
        "only shadow paging calls it (so it is declared; of what differs, kvm:mmu_spte_update ran)"
    )


# --- correctness only ------------------------------------------------------------------------------------


def correctness_of(before: tuple[int, ...], after: tuple[int, ...]) -> Verdict:
    counts = {A: before, B: after}
    rounds = [
        Counts({"async_page_ready": ready}).round(name, number)
        for name, own in counts.items()
        for number, ready in enumerate(own, 1)
    ]
    plan = plan_of(REFERENCE, SERIES, cells=(CELL,))
    return compare(replace(plan, correctness_only=True), rounds)


def test_a_smoke_run_is_no_verdict_on_cost() -> None:
    verdict = correctness_of((100, 300), (350, 120))
    assert (only(verdict).status, verdict.exit_status) == (Status.SAME, Exit.OK)
    assert "no verdict on cost, not settled: async_page_ready 0.100 -> 0.117" in only(verdict).reason
    assert verdict.answer.endswith("1 cell x 2 rounds, no verdict on cost")


def test_what_is_certain_is_claimed_in_a_smoke_run_too() -> None:
    verdict = correctness_of((0, 1), (900, 910))
    assert (only(verdict).status, verdict.exit_status) == (Status.MORE, Exit.REGRESSION)


def test_what_is_fewer_in_a_smoke_run_is_what_the_answer_names() -> None:
    """Not what is open beside it: that decides nothing here."""
    before, after = (
        Counts({"async_page_ready": ready, "mmu_notifier_unmap": unmaps}, OUT).round(name, 1)
        for name, ready, unmaps in ((A, 1451, 8000), (B, 13, 8200))
    )
    plan = replace(plan_of(REFERENCE, SERIES, cells=(CELL,), rounds=1), correctness_only=True)
    verdict = uncalibrated(plan, [before, after])
    assert any(one.change == "open" for one in only(verdict).comparisons)
    assert only(verdict).status is Status.FEWER
    assert "1 cell with fewer flushes (async_page_ready 0.726 -> 0.0065" in verdict.answer


# --- configurations and releases -----------------------------------------------------------------------

MOVED = Counts({"async_page_ready": 0, "mmu_notifier_unmap": 8000, "zap": 1000}, OUT)
BEFORE = Counts({"async_page_ready": 1000, "mmu_notifier_unmap": 8000, "zap": 0}, OUT)


@pytest.mark.parametrize(
    ("reference", "candidate", "kind"),
    [(REFERENCE, RELEASE, Kind.RELEASES), (PLAIN, CONFIGURED, Kind.CONFIGURATION)],
)
def test_between_releases_a_path_that_rose_has_moved(
    reference: PlannedKernel, candidate: PlannedKernel, kind: Kind
) -> None:
    verdict = judged(BEFORE, MOVED, reference=reference, candidate=candidate)
    seen = only(verdict)
    assert (seen.status, seen.accepted) == (Status.MOVED, True)
    assert (verdict.overall, verdict.exit_status) == (Overall.NO_REGRESSION, Exit.OK)
    assert kind.words in verdict.answer and "flushes for the same guest work x1.00" in verdict.answer
    assert "zap 0 -> 0.122 per page visited" in verdict.answer
    assert "what made each difference is not separated" in verdict.answer


def test_of_a_series_the_same_is_more() -> None:
    assert only(judged(BEFORE, MOVED)).status is Status.MORE


def test_between_releases_the_cost_as_a_whole_decides() -> None:
    more = replace(BEFORE, paths={**BEFORE.paths, "mmu_notifier_unmap": 16000})
    verdict = judged(BEFORE, more, candidate=RELEASE)
    assert (only(verdict).status, verdict.exit_status) == (Status.MORE, Exit.REGRESSION)
    assert only(verdict).reason == "all flush requests 1.099 -> 2.075 per page visited"


def test_between_releases_nothing_is_unexplained() -> None:
    fewer = replace(BEFORE, paths={**BEFORE.paths, "mmu_notifier_unmap": 0})
    assert only(judged(BEFORE, fewer, candidate=RELEASE)).status is Status.FEWER


def test_between_releases_contents_decide_all_the_same() -> None:
    rounds = [counts.round(kernel, 1) for kernel, counts in ((A, BEFORE), (B, BEFORE))]
    lost = (Finding(FindingKind.CONTENTS, "page 7 lost"),)
    rounds[1] = replace(rounds[1], correctness=Correctness.FAIL, findings=lost)
    verdict = compare(plan_of(REFERENCE, RELEASE, cells=(CELL,), rounds=1), rounds)
    assert (only(verdict).status, verdict.exit_status) == (Status.BROKEN, Exit.REGRESSION)


def test_events_that_come_otherwise_for_the_same_work_are_no_measure() -> None:
    """930 page-ready events on 6.1 and 2957 on 6.12 for the same 8192 reads."""
    before = Counts({"async_page_ready": 400}, ready=930)
    after = Counts({"async_page_ready": 400}, ready=2957)
    (ready,) = (one for one in only(judged(before, after)).paths if one.name == "async_page_ready")
    assert (ready.statement.unit, ready.judgement.ratio) == ("page visited", 1.0)
