# SPDX-License-Identifier: GPL-2.0-or-later
"""Several candidates: each is compared with the reference, and the worst of them speaks for the cell."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from samples import CANDIDATE, L2_KERNEL, REFERENCE, SHADOW, TDP, A, B, compare, plan_of, rounds_of

from guestloop.compare import KernelState, Overall, Status, Verdict
from guestloop.ground.errors import Exit, LabError
from guestloop.results.findings import Finding, FindingKind
from guestloop.results.plan import Kernels, PlannedKernel
from guestloop.results.records import L2_BUILD_ID, VMLINUX_BUILD_ID, Correctness, Outcome, Round

C = "other"
OTHER = replace(CANDIDATE, name=C, sha256="c" * 64)
FLUSHES, FEW = (420, 433), (0, 1)


def judged(rounds: list[Round], *kernels: PlannedKernel, **more: Any) -> Verdict:
    return compare(plan_of(*(kernels or (REFERENCE, CANDIDATE, OTHER)), **more), rounds)


def statuses(verdict: Verdict) -> dict[str, Status]:
    """The status of each candidate in the one cell."""
    (cell,) = verdict.cells
    return {name: candidate.status for name, candidate in cell.candidates.items()}


def alter(rounds: list[Round], kernel: str, *numbers: int, **fields: Any) -> list[Round]:
    """Change the rounds of a kernel, all of them or those with these numbers."""
    return [
        replace(item, **fields) if item.kernel == kernel and (not numbers or item.round in numbers) else item
        for item in rounds
    ]


# --- three kernels -----------------------------------------------------------------------------------


def test_each_candidate_is_compared_with_the_reference() -> None:
    verdict = judged(rounds_of({A: FLUSHES, B: FEW, C: (425, 430)}))
    assert statuses(verdict) == {B: Status.FEWER, C: Status.SAME}
    fewer, same = verdict.cells[0].candidates.values()
    assert fewer.decisive and fewer.decisive.judgement.rates == (0.4265, 0.0005)
    assert same.decisive and same.decisive.judgement.rates == (0.4265, 0.4275)
    assert list(verdict.kernels) == [A, B, C]
    assert list(verdict.cells[0].correctness) == [A, B, C]
    assert verdict.overall is Overall.NO_REGRESSION


@pytest.mark.parametrize("names", [(B, C), (C, B)])
def test_the_worst_candidate_speaks_for_the_cell(names: tuple[str, str]) -> None:
    good, bad = names
    rounds = rounds_of({A: (200, 210), good: FEW, bad: FLUSHES})
    verdict = judged(rounds)
    assert statuses(verdict) == {good: Status.FEWER, bad: Status.MORE}
    cell = verdict.cells[0]
    assert cell.status is Status.MORE
    assert cell.reason == (
        "async_page_ready 0.205 -> 0.426 per page-ready event, all flush requests 305.0 -> 526.5 per round"
    )
    assert verdict.exit_status is Exit.REGRESSION


def test_of_equally_bad_candidates_the_first_speaks() -> None:
    verdict = judged(rounds_of({A: FEW, B: FLUSHES, C: (900, 910)}))
    assert set(statuses(verdict).values()) == {Status.MORE}
    assert verdict.cells[0].worst is verdict.cells[0].candidates[B]


def test_the_order_of_statuses_is_the_one_that_is_written_down() -> None:
    worst_first = ["broken", "more", "unexplained", "inconclusive", "invalid", "skipped", "moved"]
    assert list(Status)[:7] == worst_first
    assert all(status.effect is Status.SAME.effect for status in list(Status)[7:])
    assert [status.severity for status in Status] == list(range(len(Status)))


def test_a_finding_on_one_candidate_is_not_told_of_another() -> None:
    rounds = rounds_of({A: FLUSHES, B: FLUSHES, C: FLUSHES})
    lost = {"correctness": Correctness.FAIL}
    rounds = alter(alter(rounds, B, 2, **lost, reason="page 7 lost"), C, 1, **lost, reason="page 9 lost")
    verdict = judged(rounds)
    reasons = [candidate.reason for candidate in verdict.cells[0].candidates.values()]
    assert reasons == [
        "wrong on patched in 1 of 2 rounds, right on unpatched: page 7 lost",
        "wrong on other in 1 of 2 rounds, right on unpatched: page 9 lost",
    ]


def test_a_candidate_that_failed_to_boot_does_not_hide_what_the_other_did() -> None:
    rounds = rounds_of({A: FLUSHES, B: FEW, C: FEW})
    why = Finding(FindingKind.NOT_BOOTED, "L1 other panicked: Oops\n console | x")
    gone = {"boot": 0, "outcome": Outcome.INVALID, "correctness": Correctness.NOT_RUN}
    verdict = judged(alter(rounds, C, **gone, reason=why.text, findings=(why,)))
    assert statuses(verdict) == {B: Status.FEWER, C: Status.INVALID}
    assert verdict.cells[0].reason == "other, round 1: L1 other panicked: Oops"
    assert (verdict.overall, verdict.exit_status) == (Overall.REGRESSION, Exit.REGRESSION)
    assert verdict.answer.startswith("regression: other: L1 other panicked: Oops; patched: 1 cell with fewer")
    assert (verdict.kernels[C].reason, verdict.kernels[C].console) == (
        "L1 other panicked: Oops",
        (" console | x",),
    )
    assert [kernel.state for kernel in verdict.kernels.values()] == ["measured", "measured", "not-booted"]


def not_booted(rounds: list[Round], kernel: str) -> list[Round]:
    """The same rounds, but this kernel did not boot in any of them."""
    why = Finding(FindingKind.NOT_BOOTED, f"L1 {kernel} did not boot: it hangs\n  console | [ 0.1] x")
    gone = {"boot": 0, "outcome": Outcome.INVALID, "correctness": Correctness.NOT_RUN}
    return alter(rounds, kernel, **gone, findings=(why,))


def test_a_reference_that_does_not_boot_leaves_nothing_to_say_of_others() -> None:
    wrong = Finding(FindingKind.CONTENTS, "page 7 lost")
    rounds = not_booted(rounds_of({A: FLUSHES, B: FEW, C: FEW}), A)
    rounds = alter(rounds, B, correctness=Correctness.FAIL, findings=(wrong,))
    verdict = judged(rounds)
    assert (verdict.overall, verdict.exit_status) == (Overall.NOTHING_MEASURED, Exit.LAB)
    assert "the reference: L1 unpatched did not boot: it hangs" in verdict.answer
    assert not verdict.kernels[A].booted and verdict.kernels[B].booted


def test_a_kernel_that_boots_under_one_name_only_is_no_regression() -> None:
    """The two are one build: the lab, or luck, made the difference."""
    twin = replace(REFERENCE, name=B)
    verdict = judged(not_booted(rounds_of({A: FLUSHES, B: FLUSHES}), B), REFERENCE, twin)
    assert (verdict.overall, verdict.exit_status) == (Overall.UNSTABLE, Exit.LAB)


def test_a_candidate_that_lacks_something_is_skipped_and_the_other_passes() -> None:
    rounds = rounds_of({A: FLUSHES, B: FEW, C: FEW})
    verdict = judged(alter(rounds, C, outcome=Outcome.SKIPPED, reason="no MGLRU"))
    assert statuses(verdict) == {B: Status.FEWER, C: Status.SKIPPED}
    assert (verdict.cells[0].status, verdict.cells[0].reason) == (Status.SKIPPED, "no MGLRU")
    assert verdict.exit_status is Exit.OK


def test_an_invalid_reference_leaves_nothing_to_compare_with() -> None:
    rounds = rounds_of({A: FLUSHES, B: FEW, C: FEW})
    verdict = judged(alter(rounds, A, 1, outcome=Outcome.INVALID, reason="no event"))
    assert statuses(verdict) == {B: Status.INVALID, C: Status.INVALID}
    assert verdict.overall is Overall.NOTHING_MEASURED


def test_reach_is_each_series_own() -> None:
    everywhere = replace(OTHER, reach=REFERENCE.reach)
    verdict = judged(rounds_of({A: FEW, B: FEW, C: FEW}, TDP), REFERENCE, CANDIDATE, everywhere, cells=(TDP,))
    assert statuses(verdict) == {B: Status.CANNOT_DIFFER, C: Status.SAME}


def test_the_answer_has_a_part_for_each_candidate_the_worst_first() -> None:
    rounds = [
        *rounds_of({A: FLUSHES, B: FEW, C: FLUSHES}),
        *alter(rounds_of({A: FEW, B: FEW, C: FEW}, TDP), C, 2, correctness=Correctness.FAIL, reason="lost"),
    ]
    verdict = judged(rounds, cells=(SHADOW, TDP))
    assert verdict.answer == (
        "regression: other: 1 cell broken (asyncpf/tdp/read-shared: wrong on other in 1 of 2 rounds, right "
        "on unpatched: lost), 1 cell same; patched: 1 cell cannot differ, 1 cell with fewer flushes "
        "(async_page_ready 0.426 -> 0.0005 per page-ready event); tcg, 2 cells x 2 rounds"
    )


def test_the_answer_says_once_that_contents_are_correct() -> None:
    answer = judged(rounds_of({A: FLUSHES, B: FEW, C: FLUSHES})).answer
    assert answer.count("contents correct everywhere") == 1
    assert answer.startswith("no regression: other: 1 cell same; patched: 1 cell with fewer flushes (")


def test_a_run_needs_a_candidate_and_names_that_differ() -> None:
    with pytest.raises(ValueError, match="no kernel is compared with unpatched"):
        Kernels(REFERENCE, ())
    with pytest.raises(ValueError, match="same name: unpatched, patched, patched"):
        Kernels(REFERENCE, (CANDIDATE, CANDIDATE))


def test_a_round_of_a_kernel_that_was_not_planned_is_refused() -> None:
    rounds = rounds_of({A: FLUSHES, B: FEW, C: FEW})
    with pytest.raises(LabError, match="on other is not in the plan"):
        judged(rounds, REFERENCE, CANDIDATE)


# --- byte-identical kernels --------------------------------------------------------------------------

TWIN = replace(REFERENCE, name="unpatched.2")
TRIPLET = replace(REFERENCE, name="unpatched.3")
FAILS: dict[str, Any] = {"correctness": Correctness.FAIL, "reason": "3 of 9 pages are wrong\nall of them"}


@pytest.mark.parametrize("failing", [(A,), (TWIN.name,), (A, TWIN.name)])
def test_what_fails_on_identical_kernels_is_no_claim_about_either(failing: tuple[str, ...]) -> None:
    rounds = rounds_of({A: FLUSHES, TWIN.name: FLUSHES})
    for kernel in failing:
        rounds = alter(rounds, kernel, 2, **FAILS)
    verdict = judged(rounds, REFERENCE, TWIN)
    assert verdict.cells[0].status is Status.INCONCLUSIVE
    assert verdict.cells[0].reason == (
        f"no difference can be claimed between identical kernels: failed in {len(failing)} of 4 rounds "
        f"({failing[0]}, round 2: 3 of 9 pages are wrong): the lab, or this kernel itself"
    )
    assert (verdict.overall, verdict.exit_status) == (Overall.UNSTABLE, Exit.LAB)
    assert verdict.answer.startswith(
        "unstable: 1 cell inconclusive (asyncpf/shadow/read-shared: no difference"
    )


def test_a_failure_among_cells_that_passed_is_the_lab_s_too() -> None:
    rounds = rounds_of({A: FLUSHES, TWIN.name: FLUSHES})
    rounds += alter(rounds_of({A: FEW, TWIN.name: FEW}, TDP), TWIN.name, 1, **FAILS)
    verdict = judged(rounds, REFERENCE, TWIN, cells=(SHADOW, TDP))
    assert [cell.status for cell in verdict.cells] == [Status.SAME, Status.INCONCLUSIVE]
    assert verdict.exit_status is Exit.LAB


def test_a_failure_beside_an_invalid_round_is_counted_all_the_same() -> None:
    rounds = rounds_of({A: FLUSHES, TWIN.name: FLUSHES})
    rounds = alter(alter(rounds, A, 1, outcome=Outcome.INVALID, reason="no event"), TWIN.name, 1, **FAILS)
    verdict = judged(rounds, REFERENCE, TWIN)
    assert "failed in 1 of 4 rounds (unpatched.2, round 1: " in verdict.cells[0].reason
    assert verdict.exit_status is Exit.LAB


@pytest.mark.parametrize(("before", "after"), [(FEW, FLUSHES), (FLUSHES, FEW)])
def test_a_rate_that_differs_between_identical_kernels_is_inconclusive(
    before: tuple[int, int], after: tuple[int, int]
) -> None:
    verdict = judged(rounds_of({A: before, TWIN.name: after}), REFERENCE, TWIN)
    status, reason = verdict.cells[0].status, verdict.cells[0].reason
    assert status is Status.INCONCLUSIVE
    assert reason.startswith("async_page_ready 0.") and reason.endswith(
        " per round, between identical kernels: no difference can be claimed"
    )
    assert (verdict.overall, verdict.exit_status) == (Overall.INCONCLUSIVE, Exit.INCONCLUSIVE)


def test_a_gross_rise_of_an_unjudged_path_is_no_regression_of_an_identical_kernel() -> None:
    rounds = rounds_of({A: FLUSHES, TWIN.name: FLUSHES})
    counts = {"async_page_ready": 420, "mmu_notifier_unmap": 4000}
    rounds = alter(rounds, TWIN.name, paths=counts, counters={"remote_tlb_flush_requests": 4420})
    cell = judged(rounds, REFERENCE, TWIN).cells[0]
    assert cell.status is Status.INCONCLUSIVE
    assert cell.reason.startswith(
        "all flush requests 526.5 -> 4420.0 per round, mmu_notifier_unmap 100.0 -> 4000.0"
    )


def test_rounds_that_prove_nothing_stay_invalid_on_identical_kernels() -> None:
    rounds = rounds_of({A: FLUSHES, TWIN.name: FLUSHES})
    verdict = judged(alter(rounds, TWIN.name, 1, outcome=Outcome.INVALID, reason="no event"), REFERENCE, TWIN)
    assert verdict.cells[0].status is Status.INVALID
    assert verdict.overall is Overall.NOTHING_MEASURED


def test_three_identical_kernels_without_a_difference() -> None:
    verdict = judged(
        rounds_of({A: FLUSHES, TWIN.name: (430, 425), TRIPLET.name: (424, 431)}), REFERENCE, TWIN, TRIPLET
    )
    assert verdict.answer.startswith("no difference: unpatched.2: 1 cell same; unpatched.3: 1 cell same; ")
    assert verdict.exit_status is Exit.OK


def test_of_three_identical_kernels_only_the_one_that_failed_is_open() -> None:
    rounds = rounds_of({A: FLUSHES, TWIN.name: FLUSHES, TRIPLET.name: FLUSHES})
    verdict = judged(alter(rounds, TRIPLET.name, 1, **FAILS), REFERENCE, TWIN, TRIPLET)
    assert statuses(verdict) == {TWIN.name: Status.SAME, TRIPLET.name: Status.INCONCLUSIVE}
    assert "failed in 1 of 6 rounds (unpatched.3, round 1: " in verdict.cells[0].reason
    assert verdict.exit_status is Exit.LAB


def test_an_identical_kernel_beside_another_candidate() -> None:
    """Not all candidates are the reference's own build, so that the run says something about the other."""
    rounds = rounds_of({A: FLUSHES, B: FEW, TWIN.name: FLUSHES})
    verdict = judged(alter(rounds, TWIN.name, 1, **FAILS), REFERENCE, CANDIDATE, TWIN)
    assert statuses(verdict) == {B: Status.FEWER, TWIN.name: Status.INCONCLUSIVE}
    assert verdict.exit_status is Exit.INCONCLUSIVE


SECOND = replace(CANDIDATE, name="patched.2")


@pytest.mark.parametrize(
    ("failing", "status"),
    [
        ((B,), Status.INCONCLUSIVE),  # right under one name, wrong under the other
        ((SECOND.name,), Status.SAME),
        ((B, SECOND.name), Status.BROKEN),
    ],
)
def test_one_build_under_two_names_against_another(failing: tuple[str, ...], status: Status) -> None:
    rounds = rounds_of({A: FLUSHES, B: FLUSHES, SECOND.name: FLUSHES})
    for kernel in failing:
        rounds = alter(rounds, kernel, 1, **FAILS)
    verdict = judged(rounds, REFERENCE, CANDIDATE, SECOND)
    assert statuses(verdict)[B] is status
    reason = verdict.cells[0].candidates[B].reason
    assert ("failed in 1 of 4 rounds (patched, round 1: " in reason) is (status is Status.INCONCLUSIVE)


@pytest.mark.parametrize("failing", [{B, TWIN.name}, {A}])
def test_a_reference_that_is_wrong_under_one_name_carries_no_claim(failing: set[str]) -> None:
    """Else a candidate would be broken, or fixed, by a lab that made one of two identical kernels fail."""
    rounds = rounds_of({A: FLUSHES, B: FLUSHES, TWIN.name: FLUSHES})
    for kernel in failing:
        rounds = alter(rounds, kernel, 1, **FAILS)
    verdict = judged(rounds, REFERENCE, CANDIDATE, TWIN)
    assert statuses(verdict) == {B: Status.INCONCLUSIVE, TWIN.name: Status.INCONCLUSIVE}
    assert "failed in 1 of 4 rounds" in verdict.cells[0].candidates[B].reason
    assert verdict.exit_status is Exit.INCONCLUSIVE


def test_no_failure_makes_a_regression_of_identical_kernels() -> None:
    """Any of the four rounds, wrong, invalid, skipped, or with wild counts: never 1, and never a fix."""
    changes: list[dict[str, Any]] = [
        {},
        FAILS,
        {"outcome": Outcome.INVALID, "reason": "x"},
        {"outcome": Outcome.SKIPPED, "reason": "x"},
        {"paths": {"zap": 9000}, "counters": {"remote_tlb_flush_requests": 9000}},
    ]
    for four in itertools.product(changes, repeat=4):
        rounds = rounds_of({A: FLUSHES, TWIN.name: FLUSHES})
        rounds = [replace(item, **change) for item, change in zip(rounds, four, strict=True)]
        verdict = judged(rounds, REFERENCE, TWIN)
        assert verdict.exit_status is not Exit.REGRESSION
        assert verdict.cells[0].status not in (Status.BROKEN, Status.MORE, Status.FEWER, Status.FIXED)
        if FAILS in four:
            assert verdict.exit_status is Exit.LAB


# --- findings are data -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(set(FindingKind) - {FindingKind.RATES}))  # that one: test_compare.py
def test_the_kind_of_a_finding_decides_and_not_its_words(kind: FindingKind) -> None:
    """Also where outcome and correctness forgot to say so."""
    rounds = rounds_of({A: FLUSHES, B: FLUSHES})
    found = Finding(kind, "it was seen\nwith details")
    rounds = alter(rounds, B, 2, findings=(found,), reason="all contents were right, nothing is wrong")
    cell = judged(rounds, REFERENCE, CANDIDATE).cells[0]
    expected = {
        "wrong": (Status.BROKEN, "wrong on patched in 1 of 2 rounds, right on unpatched: it was seen"),
        "invalid": (Status.INVALID, "patched, round 2: it was seen"),
        "skipped": (Status.SKIPPED, "it was seen"),
    }
    assert (cell.status, cell.reason) == expected[kind.bearing]


def test_the_reason_quotes_the_finding_that_decides() -> None:
    rounds = rounds_of({A: FLUSHES, B: FLUSHES})
    findings = (Finding(FindingKind.TIMED_OUT, "waited 20 s"), Finding(FindingKind.STUCK, "vCPU 1 stands"))
    rounds = alter(rounds, B, 1, findings=findings, reason="waited 20 s; vCPU 1 stands")
    assert judged(rounds, REFERENCE, CANDIDATE).cells[0].reason.endswith("unpatched: vCPU 1 stands")


def test_every_kind_says_what_it_means() -> None:
    meanings = [kind.meaning for kind in FindingKind]
    assert all(meanings) and len(set(meanings)) == len(meanings)


# --- the state of a kernel ---------------------------------------------------------------------------

GONE: dict[str, Any] = {"boot": 0, "outcome": Outcome.INVALID}


@pytest.mark.parametrize(
    ("numbers", "kind", "state"),
    [
        ((), FindingKind.NOT_BOOTED, KernelState.NOT_BOOTED),
        ((), FindingKind.LAB, KernelState.MEASURED),  # the lab process is gone: the kernel was not tried
        ((2,), FindingKind.NOT_BOOTED, KernelState.MEASURED),  # it had booted before
    ],
)
def test_a_kernel_did_not_boot_when_every_round_failed_for_that(
    numbers: tuple[int, ...], kind: FindingKind, state: KernelState
) -> None:
    rounds = alter(rounds_of({A: FLUSHES, B: FEW}), B, *numbers, **GONE, findings=(Finding(kind, "x"),))
    verdict = judged(rounds, REFERENCE, CANDIDATE)
    assert verdict.kernels[B].state is state
    assert verdict.kernels[A].state is KernelState.MEASURED
    unbootable = state is KernelState.NOT_BOOTED
    assert verdict.overall is (Overall.REGRESSION if unbootable else Overall.NOTHING_MEASURED)


def test_a_kernel_without_rounds_is_not_said_to_have_failed_to_boot() -> None:
    assert judged([], REFERENCE, CANDIDATE).kernels[B].state is KernelState.MEASURED


def test_the_identity_is_the_build_id_that_was_read_back() -> None:
    rounds = alter(
        rounds_of({A: FLUSHES, B: FEW}),
        A,
        2,
        facts={VMLINUX_BUILD_ID: "90c0", L2_BUILD_ID: L2_KERNEL.build_id},
    )
    verdict = judged(rounds, REFERENCE, CANDIDATE)
    assert [kernel.identity for kernel in verdict.kernels.values()] == ["90c0", ""]


@pytest.mark.parametrize(("wrong", "unchecked"), [(A, B), (B, A)])
def test_wrong_on_one_and_not_checked_on_the_other_is_no_claim(wrong: str, unchecked: str) -> None:
    rounds = alter(rounds_of({A: FLUSHES, B: FLUSHES}), wrong, 1, correctness=Correctness.FAIL)
    rounds = alter(rounds, unchecked, 2, correctness=Correctness.NOT_RUN)
    candidate = judged(rounds, REFERENCE, CANDIDATE).cells[0].candidates[B]
    assert candidate.status is Status.INCONCLUSIVE
    assert candidate.reason.startswith(
        f"wrong on {wrong} in 1 of 2 rounds, not checked in every round on {unchecked}"
    )


# --- how often each kernel fails -----------------------------------------------------------------------


def judged_pair(rounds: list[Round], planned: int) -> Verdict:
    return compare(plan_of(REFERENCE, CANDIDATE, rounds=planned), rounds)


def wrong_in(kernel: str, rounds: list[Round], *numbers: int) -> list[Round]:
    found = (Finding(FindingKind.CONTENTS, "page 7 lost"),)
    return alter(rounds, kernel, *numbers, correctness=Correctness.FAIL, findings=found)


def test_all_wrong_is_broken_beside_an_invalid_round_of_the_reference() -> None:
    rounds = wrong_in(B, rounds_of({A: (420,) * 10, B: (420,) * 10}))
    rounds = alter(rounds, A, 3, outcome=Outcome.INVALID, reason="no event")
    cell = judged_pair(rounds, 10).cells[0]
    assert cell.status is Status.BROKEN
    assert cell.reason == "wrong on patched in 10 of 10 rounds, right on unpatched: page 7 lost"


def test_rounds_that_were_skipped_are_not_right() -> None:
    rounds = wrong_in(B, rounds_of({A: (420,) * 2, B: (420,) * 2}))
    rounds = alter(rounds, A, outcome=Outcome.SKIPPED, correctness=Correctness.NOT_RUN, reason="no swap")
    cell = judged_pair(rounds, 2).cells[0]
    assert cell.status is Status.INCONCLUSIVE
    assert cell.reason.startswith(
        "wrong on patched in 2 of 2 rounds, not checked in every round on unpatched"
    )


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        ((1,), (2,), Status.INCONCLUSIVE),
        ((1,), range(1, 9), Status.BROKEN),
        (range(1, 9), (1,), Status.FIXED),
        ((1, 2, 3, 4), range(1, 9), Status.INCONCLUSIVE),
    ],
)
def test_where_both_fail_an_exact_test_decides(
    before: tuple[int, ...], after: tuple[int, ...], status: Status
) -> None:
    rounds = rounds_of({A: (420,) * 8, B: (420,) * 8})
    rounds = wrong_in(B, wrong_in(A, rounds, *before), *after)
    cell = judged_pair(rounds, 8).cells[0]
    assert cell.status is status
    assert (
        f"wrong on patched in {len(after)} of 8 rounds, wrong on unpatched in {len(before)} of 8"
        in cell.reason
    )


def never_works(kind: FindingKind, kernel: str, rounds: list[Round]) -> list[Round]:
    return alter(rounds, kernel, outcome=Outcome.INVALID, findings=(Finding(kind, "no guest boots"),))


def test_what_never_works_on_one_kernel_and_always_on_the_other() -> None:
    rounds = rounds_of({A: (420,) * 6, B: (420,) * 6})
    for kernel, status in ((B, Status.BROKEN), (A, Status.FIXED)):
        dead = never_works(FindingKind.GUEST_FAILED, kernel, rounds)
        cell = judged_pair(dead, 6).cells[0]
        assert cell.status is status
        assert f"no round of 6 works on {kernel}, all 6 on" in cell.reason


@pytest.mark.parametrize("kind", [FindingKind.LAB, FindingKind.L1_ENDED, FindingKind.INTERRUPTED])
def test_what_a_lab_does_is_no_fault_of_a_kernel(kind: FindingKind) -> None:
    rounds = never_works(kind, B, rounds_of({A: (420,) * 6, B: (420,) * 6}))
    assert judged_pair(rounds, 6).cells[0].status is Status.INVALID


def test_one_round_that_does_not_work_proves_nothing() -> None:
    rounds = never_works(FindingKind.GUEST_FAILED, B, rounds_of({A: (420,), B: (420,)}))
    assert judged_pair(rounds, 1).cells[0].status is Status.INVALID


def test_an_invalid_round_is_made_up_for_by_another() -> None:
    rounds = rounds_of({A: (420,) * 3, B: (421,) * 3})
    rounds = alter(rounds, B, 2, outcome=Outcome.INVALID, reason="no event")
    cell = judged(rounds, REFERENCE, CANDIDATE).cells[0]
    assert (cell.status, cell.candidates[B].used) == (Status.SAME, (3, 2))
    assert cell.correctness[B] is Correctness.PASS


def test_the_repeat_of_a_lone_wrong_round_is_told() -> None:
    rounds = wrong_in(B, rounds_of({A: (420,) * 2, B: (420,) * 2}), 1)
    rounds = [replace(item, repeats=1) if item.round == 2 else item for item in rounds]
    cell = judged_pair(rounds, 1).cells[0]
    assert cell.status is Status.BROKEN
    assert cell.reason == (
        "wrong on patched in 1 of 2 rounds, right on unpatched: page 7 lost (round 1; its repeat, round 2, "
        "was right)"
    )
