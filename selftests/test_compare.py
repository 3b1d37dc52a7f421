# SPDX-License-Identifier: GPL-2.0-or-later
"""Every status by constructed rounds, the rule that judges two samples, and how often it errs."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import asdict, replace
from typing import Any

import pytest
from samples import BECAUSE, CANDIDATE, REFERENCE, SHADOW, TDP, A, B, compare, make_round, plan_of, rounds_of

from guestloop.compare import Change, Overall, Status, Verdict
from guestloop.compare.statuses import judge_overall
from guestloop.counters import FLUSH_REQUESTS
from guestloop.ground.errors import Exit, LabError
from guestloop.results.cells import Cell, Mmu
from guestloop.results.findings import Finding, FindingKind
from guestloop.results.plan import Plan
from guestloop.results.records import Correctness, Outcome, Phase, Round, parse_round


def make_plan(*cells: Cell, same: bool = False) -> Plan:
    candidate = replace(CANDIDATE, sha256=REFERENCE.sha256) if same else CANDIDATE
    return plan_of(REFERENCE, candidate, cells=cells or (SHADOW,))


def make_rounds(reference: tuple[int, ...], tested: tuple[int, ...], cell: Cell = SHADOW) -> list[Round]:
    return rounds_of({A: reference, B: tested}, cell)


def one(verdict: Verdict) -> tuple[Status, str]:
    (cell,) = verdict.cells
    return cell.status, cell.reason


def test_fewer() -> None:
    verdict = compare(make_plan(), make_rounds((420, 433), (0, 1)))
    status, reason = one(verdict)
    assert status is Status.FEWER
    assert "async_page_ready 0.426 -> 0.0005 per page-ready event" in reason
    assert (verdict.overall, verdict.exit_status) == (Overall.NO_REGRESSION, Exit.OK)
    assert (
        "1 cell with fewer flushes (async_page_ready 0.426 -> 0.0005 per page-ready event)" in verdict.answer
    )
    assert verdict.summary == (
        "no regression: 1 cell with fewer flushes, contents correct everywhere; tcg, 1 cell x 2 rounds"
    )
    found = verdict.cells[0].candidates[B]
    assert found.decisive and found.decisive.judgement.p_value < found.decisive.judgement.alpha < 0.01


def test_more() -> None:
    verdict = compare(make_plan(), make_rounds((0, 1), (420, 433)))
    assert one(verdict)[0] is Status.MORE
    assert (verdict.overall, verdict.exit_status) == (Overall.REGRESSION, Exit.REGRESSION)
    assert verdict.answer.startswith("regression: 1 cell with more (asyncpf/shadow/read-shared: ")


@pytest.mark.parametrize(
    ("reference", "tested"),
    [
        ((0, 0), (0, 0)),
        ((0, 1), (3, 2)),  # nothing that matters
        ((420, 433), (415, 440)),
        ((420, 433), (434, 440)),  # apart, but 2 %
    ],
)
def test_same(reference: tuple[int, int], tested: tuple[int, int]) -> None:
    status, reason = one(compare(make_plan(), make_rounds(reference, tested)))
    assert status is Status.SAME
    size = " %" if max(reference) > 1 else " in a round"
    assert reason.startswith("async_page_ready: an increase by more than ")
    assert reason.endswith(f"{size} is excluded (95 %)")


@pytest.mark.parametrize(
    ("reference", "tested"),
    [
        ((10, 900), (20, 700)),
        ((300, 500), (520, 700)),  # apart, but rounds of one kernel scatter as widely
    ],
)
def test_rounds_that_scatter_wildly_are_inconclusive(
    reference: tuple[int, int], tested: tuple[int, int]
) -> None:
    verdict = compare(make_plan(), make_rounds(reference, tested))
    status, reason = one(verdict)
    assert status is Status.INCONCLUSIVE
    assert reason.startswith("not settled: async_page_ready 0.") and "would settle it" in reason
    assert verdict.overall is Overall.INCONCLUSIVE


def paths_of(kernel: str, paths: dict[str, int], **more: Any) -> list[Round]:
    """Two rounds of a kernel with these flushes on paths."""
    return [make_round(SHADOW, kernel, number, 0, paths=paths, **more) for number in (1, 2)]


def test_any_more_beats_fewer() -> None:
    judged: dict[str, Any] = {"judged": ("async_page_ready", "sync")}
    rounds = paths_of(A, {"async_page_ready": 420, "sync": 0}, **judged)
    rounds += paths_of(B, {"async_page_ready": 0, "sync": 420}, **judged)
    status, reason = one(compare(make_plan(), rounds))
    assert status is Status.MORE and "sync 0 -> 420.0 per round" in reason


@pytest.mark.parametrize(
    ("zaps", "status"), [(5, Status.SAME), (12, Status.SAME), (60, Status.MORE), (900, Status.MORE)]
)
def test_paths_that_the_workload_is_not_about_are_judged_too(zaps: int, status: Status) -> None:
    before = paths_of(A, {"async_page_ready": 400, "zap": 5})
    assert (
        one(compare(make_plan(), before + paths_of(B, {"async_page_ready": 400, "zap": zaps})))[0] is status
    )


def test_incidental_paths_decide_nothing_however_gross() -> None:
    marked: dict[str, Any] = {"incidental": ("zap",)}
    rounds = paths_of(A, {"async_page_ready": 0, "zap": 5}, **marked)
    rounds += paths_of(B, {"async_page_ready": 0, "zap": 900}, **marked)
    verdict = compare(make_plan(), rounds)
    assert one(verdict)[0] is Status.SAME
    (shown,) = (item for item in verdict.cells[0].candidates[B].paths if item.name == "zap")
    assert not shown.decides and shown.change is Change.MORE


def test_cannot_differ_and_a_wrong_reach() -> None:
    verdict = compare(make_plan(TDP), make_rounds((0, 0), (0, 0), TDP))
    assert one(verdict) == (Status.CANNOT_DIFFER, f"{BECAUSE} (declared, not probed)")
    assert verdict.answer == (
        "no regression: 1 cell cannot differ, contents correct everywhere; tcg, 1 cell x 2 rounds"
    )
    for rounds, status in ((((420, 433), (0, 1)), Status.FEWER), (((0, 1), (420, 433)), Status.MORE)):
        seen, reason = one(compare(make_plan(TDP), make_rounds(*rounds, TDP)))
        assert seen is status and "declared reach of the series is wrong" in reason and BECAUSE in reason


def test_same_kernel_twice_ignores_reach() -> None:
    verdict = compare(make_plan(TDP, same=True), make_rounds((420, 433), (425, 430), TDP))
    assert one(verdict)[0] is Status.SAME
    assert verdict.answer.startswith("no difference: 1 cell same, contents correct everywhere")


@pytest.mark.parametrize(
    ("reference", "tested", "status", "overall"),
    [
        ("pass", "fail", Status.BROKEN, Overall.REGRESSION),
        ("fail", "pass", Status.FIXED, Overall.NO_REGRESSION),
        ("fail", "fail", Status.INCONCLUSIVE, Overall.INCONCLUSIVE),
    ],
)
def test_contents_decide(reference: str, tested: str, status: Status, overall: Overall) -> None:
    rounds = [
        replace(item, correctness=Correctness(reference if item.kernel == A else tested))
        if item.round == 2
        else item
        for item in make_rounds((420, 433), (0, 1))
    ]
    verdict = compare(make_plan(), rounds)
    assert (one(verdict)[0], verdict.overall) == (status, overall)
    assert "contents correct" not in verdict.answer
    if status is Status.INCONCLUSIVE:
        assert one(verdict)[1].startswith("wrong on both kernels")


@pytest.mark.parametrize(("looks", "status"), [((1,), Status.MORE), ((1, 2, 4), Status.INCONCLUSIVE)])
def test_a_change_in_one_round_is_open_where_there_may_be_more(
    looks: tuple[int, ...], status: Status
) -> None:
    """In a run that ends before its second look too: one round may be unlike all others."""
    plan = replace(make_plan(), looks=looks)
    seen, reason = one(compare(plan, make_rounds((420,), (2000,))))
    assert seen is status and "async_page_ready" in reason
    assert reason.startswith("one round is not enough for a change: ") == (status is Status.INCONCLUSIVE)
    assert one(compare(plan, make_rounds((420, 433), (2000, 2100))))[0] is Status.MORE


RATES = Finding(FindingKind.RATES, "31% of the untouched pages were taken for young, at most 30% is usual")
STALE = Finding(FindingKind.CONTENTS, "page 7 is stale")


@pytest.mark.parametrize(
    ("found", "is_broken"),
    [
        ({2: [RATES]}, False),
        ({1: [RATES], 2: [RATES]}, True),
        ({2: [RATES, STALE]}, True),
        ({1: [RATES], 2: [STALE]}, True),
    ],
)
def test_shares_beyond_what_is_usual_are_wrong_where_every_round_has_them(
    found: dict[int, list[Finding]], is_broken: bool
) -> None:
    """Where some have not, they are compared as the shares that they are."""
    rounds = [
        replace(item, correctness=Correctness.FAIL, findings=tuple(found[item.round]))
        if item.kernel == B and item.round in found
        else item
        for item in make_rounds((420, 433), (420, 433))
    ]
    assert one(compare(make_plan(), rounds))[0] is (Status.BROKEN if is_broken else Status.SAME)


def test_a_reason_does_not_quote_what_is_compared_as_a_share() -> None:
    found = {(A, 1): RATES, (B, 2): STALE}
    rounds = [
        replace(item, correctness=Correctness.FAIL, findings=(found[item.kernel, item.round],))
        if (item.kernel, item.round) in found
        else item
        for item in make_rounds((420, 433), (420, 433))
    ]
    status, reason = one(compare(make_plan(), rounds))
    assert status is Status.BROKEN
    assert reason == "wrong on patched in 1 of 2 rounds, right on unpatched: page 7 is stale"


def test_a_finding_of_many_lines_leaves_the_answer_one_line() -> None:
    finding = "; ".join(f"page {number} lost" for number in range(100))
    rounds = make_rounds((420, 433), (0, 1))
    rounds[-1] = replace(rounds[-1], correctness=Correctness.FAIL, reason=finding)
    verdict = compare(make_plan(), rounds)
    assert finding in one(verdict)[1]
    assert "page 0 lost" in verdict.answer and "…" in verdict.answer and len(verdict.answer) < 350


def test_wrong_contents_show_through_an_invalid_round() -> None:
    rounds = make_rounds((420, 433), (0, 1))
    wrong = replace(rounds[3], outcome=Outcome.INVALID, reason="no events", correctness=Correctness.FAIL)
    assert one(compare(make_plan(), [*rounds[:3], wrong]))[0] is Status.BROKEN
    # but what passed without proof is no pass, so nothing was fixed
    before = replace(rounds[0], correctness=Correctness.FAIL)
    unproven = replace(rounds[1], outcome=Outcome.INVALID, reason="no events")
    assert one(compare(make_plan(), [before, unproven, *rounds[2:]]))[0] is Status.INCONCLUSIVE


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"outcome": Outcome.INVALID, "reason": "no dirty round"}, Status.INVALID, "no dirty round"),
        ({"outcome": Outcome.SKIPPED, "reason": "no npt"}, Status.SKIPPED, "no npt"),
        ({"events": {"page_ready": 0}}, Status.INVALID, "no page_ready was counted"),
        ({"events": {}}, Status.INVALID, "no page_ready was counted"),
        ({"counters": {}}, Status.INVALID, "remote_tlb_flush_requests was not read"),
        ({"counters": {FLUSH_REQUESTS: 900}}, Status.INVALID, "KVM counted 900"),
        ({"correctness": Correctness.NOT_RUN}, Status.INVALID, "were not checked"),
        ({"event": "aged", "events": {"aged": 9}}, Status.INVALID, "different events: aged, page_ready"),
    ],
)
def test_what_was_not_proven_never_passes(change: dict[str, Any], status: Status, says: str) -> None:
    rounds = make_rounds((420, 433), (0, 1))
    verdict = compare(make_plan(), [*rounds[:3], replace(rounds[3], **change)])
    assert one(verdict)[0] is status and says in one(verdict)[1]
    assert (verdict.overall, verdict.exit_status) == (Overall.NOTHING_MEASURED, Exit.LAB)
    cell = verdict.cells[0]
    assert cell.candidates[B].decisive is None and cell.correctness[B] is not Correctness.FAIL
    if change.get("outcome") is not None or "correctness" in change:
        assert cell.correctness[B] is Correctness.NOT_RUN


def test_missing_rounds_are_invalid() -> None:
    verdict = compare(make_plan(), make_rounds((420, 433), (1,)))
    assert one(verdict) == (Status.INVALID, "patched: 1 of 2 rounds were written")
    assert one(compare(make_plan(), []))[0] is Status.INVALID


def test_one_good_cell_does_not_hide_an_invalid_one() -> None:
    verdict = compare(make_plan(SHADOW, TDP), make_rounds((420, 433), (0, 1)))
    assert (verdict.overall, verdict.exit_status) == (Overall.INCONCLUSIVE, Exit.INCONCLUSIVE)
    assert "1 cell invalid (asyncpf/tdp/read-shared: unpatched: 0 of 2 rounds" in verdict.answer
    assert "contents correct in every measured cell" in verdict.answer


def test_overall() -> None:
    for statuses in itertools.product(Status, repeat=2):
        overall = judge_overall(statuses, undecided=any(status.undecided for status in statuses))
        bad = {Status.BROKEN, Status.MORE}
        unproven = {Status.INVALID, Status.INCONCLUSIVE, Status.UNEXPLAINED, Status.MOVED}
        if bad & set(statuses):
            assert overall is Overall.REGRESSION
        elif set(statuses) <= {Status.INVALID, Status.SKIPPED}:
            assert overall is Overall.NOTHING_MEASURED
        else:
            assert (overall is Overall.INCONCLUSIVE) is bool(unproven & set(statuses))
    assert judge_overall([]) is Overall.NOTHING_MEASURED


def test_strangers_are_refused() -> None:
    rounds = make_rounds((420, 433), (0, 1))
    with pytest.raises(LabError, match="not in the plan"):
        compare(make_plan(TDP), rounds)
    with pytest.raises(LabError, match="mutant is not in the plan"):
        compare(make_plan(), [replace(rounds[0], kernel="mutant")])


# --- records ---


def random_round(rng: random.Random) -> Round:
    def counts() -> dict[str, int]:
        return {f"n{rng.randrange(99)}": rng.randrange(10**12) for _ in range(rng.randrange(4))}

    def text() -> str:
        return "".join(rng.choice('aä/"\\ \n\x1f漢') for _ in range(rng.randrange(6)))

    def texts() -> tuple[str, ...]:
        return tuple(text() for _ in range(rng.randrange(3)))

    return Round(
        cell=Cell(text(), rng.choice(list(Mmu)), {text(): text()}),
        kernel=text(),
        round=rng.randrange(99),
        boot=rng.randrange(9),
        outcome=rng.choice(list(Outcome)),
        reason=text(),
        correctness=rng.choice(list(Correctness)),
        event=text(),
        events=counts(),
        counters=counts(),
        phases={text(): Phase(rng.random(), counts(), counts())},
        paths=counts(),
        judged=texts(),
        seconds=rng.random() * 1e4,
        facts={text(): text()},
        evidence=texts(),
        findings=tuple(Finding(rng.choice(list(FindingKind)), text()) for _ in range(rng.randrange(3))),
    )


def test_any_round_survives_json() -> None:
    rng = random.Random(42)
    for _ in range(200):
        item = random_round(rng)
        assert parse_round(json.loads(json.dumps(asdict(item)))) == item
