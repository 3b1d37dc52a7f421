# SPDX-License-Identifier: GPL-2.0-or-later
"""Every status by constructed rounds, the rule that judges two samples, and how often it errs."""

from __future__ import annotations

import itertools
import json
import math
import random
from dataclasses import asdict, replace
from typing import Any

import pytest
from samples import BECAUSE, CANDIDATE, REFERENCE, SHADOW, TDP, A, B, make_round, plan_of, rounds_of

from guestloop.compare import Change, Overall, Sample, Status, Verdict, compare, judge
from guestloop.compare.distributions import binomial_two_sided, t_quantile, t_two_sided
from guestloop.compare.judge import GROSS
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
    assert "async_page_ready 0.426 -> 0.001 per event" in reason
    assert (verdict.overall, verdict.exit_status) == (Overall.NO_REGRESSION, Exit.OK)
    assert "1 cell with fewer flushes (async_page_ready 0.426 -> 0.001 per event)" in verdict.answer
    found = verdict.cells[0].candidates[B]
    assert found.metric == "async_page_ready flush requests per page_ready"
    assert found.decisive and found.decisive.figures.p_value < 0.01


def test_more() -> None:
    verdict = compare(make_plan(), make_rounds((0, 1), (420, 433)))
    assert one(verdict)[0] is Status.MORE
    assert (verdict.overall, verdict.exit_status) == (Overall.REGRESSION, Exit.REGRESSION)
    assert verdict.answer.startswith("regression: 1 cell with more flushes (asyncpf/shadow/read-shared: ")


@pytest.mark.parametrize(
    ("reference", "tested"),
    [
        ((0, 0), (0, 0)),
        ((0, 1), (3, 2)),  # nothing that matters per event
        ((420, 433), (415, 440)),
        ((420, 433), (434, 440)),  # apart, but 2 %
        ((300, 500), (520, 700)),  # apart, but rounds of one kernel scatter as widely
    ],
)
def test_same(reference: tuple[int, int], tested: tuple[int, int]) -> None:
    status, reason = one(compare(make_plan(), make_rounds(reference, tested)))
    assert status is Status.SAME
    assert "an increase of" in reason and "would have been seen" in reason


def test_rounds_that_scatter_wildly_about_nothing_are_the_same_and_claim_no_sensitivity() -> None:
    status, reason = one(compare(make_plan(), make_rounds((0, 9), (0, 0))))
    assert status is Status.SAME
    assert reason.startswith("async_page_ready 0.004 -> 0.000 per event: rounds of one kernel scatter so")
    assert "inf" not in reason


def test_rounds_that_scatter_wildly_are_inconclusive() -> None:
    verdict = compare(make_plan(), make_rounds((10, 900), (20, 700)))
    assert one(verdict)[0] is Status.INCONCLUSIVE and "scatter so widely" in one(verdict)[1]
    assert verdict.overall is Overall.INCONCLUSIVE


def test_any_more_beats_fewer() -> None:
    def paths(ready: int, sync: int) -> dict[str, Any]:
        return {"paths": {"async_page_ready": ready, "sync": sync}, "judged": ("async_page_ready", "sync")}

    rounds = [make_round(SHADOW, A, number, 0, **paths(420, 0)) for number in (1, 2)]
    rounds += [make_round(SHADOW, B, number, 0, **paths(0, 420)) for number in (1, 2)]
    status, reason = one(compare(make_plan(), rounds))
    assert status is Status.MORE and "sync 0.000 -> 0.420" in reason


@pytest.mark.parametrize(("zaps", "status"), [(30, Status.SAME), (900, Status.MORE)])
def test_unjudged_paths_decide_only_when_gross(zaps: int, status: Status) -> None:
    rounds = [make_round(SHADOW, A, n, 0, paths={"async_page_ready": 0, "zap": 5}) for n in (1, 2)]
    rounds += [make_round(SHADOW, B, n, 0, paths={"async_page_ready": 0, "zap": zaps}) for n in (1, 2)]
    assert one(compare(make_plan(), rounds))[0] is status
    # fewer of an unjudged path is shown, not claimed
    swapped = [replace(item, kernel=B if item.kernel == A else A) for item in rounds]
    assert one(compare(make_plan(), swapped))[0] is Status.SAME


def test_incidental_paths_decide_nothing_however_gross() -> None:
    marked: dict[str, Any] = {"incidental": ("zap",)}
    rounds = [make_round(SHADOW, A, n, 0, paths={"async_page_ready": 0, "zap": 5}, **marked) for n in (1, 2)]
    rounds += [
        make_round(SHADOW, B, n, 0, paths={"async_page_ready": 0, "zap": 900}, **marked) for n in (1, 2)
    ]
    verdict = compare(make_plan(), rounds)
    assert one(verdict)[0] is Status.SAME
    (shown,) = (item for item in verdict.cells[0].candidates[B].paths if item.path == "zap")
    assert shown.incidental and shown.figures.change is Change.MORE


def test_cannot_differ_and_a_wrong_reach() -> None:
    verdict = compare(make_plan(TDP), make_rounds((0, 0), (0, 0), TDP))
    assert one(verdict) == (Status.CANNOT_DIFFER, BECAUSE)
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
        overall = judge_overall(statuses)
        bad = {Status.BROKEN, Status.MORE}
        unproven = {Status.INVALID, Status.INCONCLUSIVE}
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


# --- the rule ---


def scattered(rng: random.Random, rate: float, cv: float, rounds: int) -> Sample:
    """Rounds of 500 to 2600 events; their rate is gamma-distributed with that cv, their counts Poisson."""
    events = tuple(rng.randint(500, 2600) for _ in range(rounds))
    shape = 1 / cv**2 if cv else 0.0
    means = [rate * number * (rng.gammavariate(shape, 1 / shape) if cv else 1.0) for number in events]
    return Sample(tuple(poisson(rng, mean) for mean in means), events)


def poisson(rng: random.Random, mean: float) -> int:
    if mean > 50:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, count, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        count, product = count + 1, product * rng.random()
    return count


@pytest.mark.parametrize(
    ("cv", "allowed"),
    [
        (0.0, 0.002),
        (0.1, 0.005),
        (0.15, 0.01),
        (0.2, 0.015),  # more than the prior assumes: the nominal 1 %, no more
        (0.3, 0.04),  # twice the prior: degrades slowly
    ],
)
@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_false_alarms(cv: float, allowed: float, rounds: int) -> None:
    """A/A: both samples are of one kernel, whose rounds scatter by ``cv`` beyond Poisson.

    Rates of 0.005, 0.05, 0.42 and 0.97 per event, 500 to 2600 events a round, as in facts of asyncpf.
    """
    rng = random.Random(f"{cv} {rounds}")
    trials, alarms = 1200, 0
    for trial in range(trials):
        rate = (0.005, 0.05, 0.42, 0.97)[trial % 4]
        pair = scattered(rng, rate, cv, rounds), scattered(rng, rate, cv, rounds)
        alarms += judge(*pair).change is not Change.SAME
    assert alarms / trials < allowed


@pytest.mark.parametrize("rounds", [1, 2])
def test_power(rounds: int) -> None:
    """0.42 against 0.00 per event, 500 events or more, rounds that scatter by 20 %: always seen."""
    rng = random.Random(rounds)
    for _ in range(200):
        reference, tested = scattered(rng, 0.42, 0.2, rounds), scattered(rng, 0.0004, 0.2, rounds)
        assert judge(reference, tested).change is Change.FEWER
        assert judge(tested, reference).change is Change.MORE


def test_mde_is_what_is_seen_mostly() -> None:
    """A change of the size of mde is seen in about 4 of 5 tries (the approximation is a rough one)."""
    rng = random.Random(7)
    typical = sorted(
        judge(scattered(rng, 0.42, 0.15, 2), scattered(rng, 0.42, 0.15, 2)).mde for _ in range(99)
    )[49]
    seen = sum(
        judge(scattered(rng, 0.42, 0.15, 2), scattered(rng, 0.42 + typical, 0.15, 2)).change is Change.MORE
        for _ in range(300)
    )
    assert 0.4 < seen / 300 < 0.99


def test_figures() -> None:
    found = judge(Sample((420, 430), (1000, 1000)), Sample((210, 220), (1000, 1000)))
    assert found.per_event == (0.425, 0.215)
    assert found.ratio == pytest.approx(0.506, abs=0.001)
    low, high = found.ci
    assert high is not None and low < 0.506 < high
    none = judge(Sample((0,), (1000,)), Sample((0,), (1000,)))
    assert (none.ratio, none.ci, none.p_value) == (None, (0.0, None), 1.0)
    assert none.mde >= 0.008
    gone = judge(Sample((400,), (1000,)), Sample((0,), (1000,)))
    assert gone.ratio == 0.0 and gone.ci[0] == 0.0
    assert (
        judge(Sample((400, 410), (1000, 1000)), Sample((560, 570), (1000, 1000)), GROSS).change is Change.SAME
    )


def test_distributions_against_tables() -> None:
    for df, quantile in (
        (1, 63.657),
        (2, 9.925),
        (3, 5.841),
        (4, 4.604),
        (5, 4.032),
        (10, 3.169),
        (30, 2.750),
    ):
        assert t_quantile(0.01, df) == pytest.approx(quantile, abs=0.001)
        assert t_two_sided(-quantile, df) == pytest.approx(0.01, rel=0.001)
    assert t_two_sided(0.0, 3) == 1.0
    assert binomial_two_sided(2, 10, 0.5) == pytest.approx(2 * 56 / 1024)
    assert binomial_two_sided(8, 10, 0.5) == pytest.approx(2 * 56 / 1024)
    assert binomial_two_sided(5, 10, 0.5) == 1.0
    assert binomial_two_sided(0, 4, 0.25) == pytest.approx(2 * 0.75**4)
    assert binomial_two_sided(0, 0, 0.5) == 1.0
    assert binomial_two_sided(0, 98_000, 0.5) == 0.0
    assert binomial_two_sided(48_700, 98_000, 0.5) == pytest.approx(0.0556, abs=0.001)


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
