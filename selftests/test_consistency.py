# SPDX-License-Identifier: GPL-2.0-or-later
"""Rounds that do not belong to a plan are refused, with what is wrong and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from samples import CANDIDATE, DIGESTS, REFERENCE, TDP, A, B, plan_of, rounds_of

from guestloop.compare import compare
from guestloop.ground.errors import LabError
from guestloop.results.consistency import COPIED, MIXED, check
from guestloop.results.plan import Plan
from guestloop.results.records import Outcome, Round, build_id_fact
from guestloop.results.sizes import USUAL, Sizes

CELL = "asyncpf/shadow/read-shared"
BUILDS = {
    A: {"vmlinux": "a0" * 20, "kvm": "a1" * 20, "kvm-amd": "a2" * 20},
    B: {"vmlinux": "a0" * 20, "kvm": "b1" * 20, "kvm-amd": "a2" * 20},
}
PLAN = replace(
    plan_of(
        replace(REFERENCE, build_ids=BUILDS[A]), replace(CANDIDATE, build_ids=BUILDS[B] | {"irqbypass": "b9"})
    ),
    digests=DIGESTS,
)
OLD = replace(plan_of(REFERENCE, CANDIDATE), digests={})


def recorded(item: Round, **more: str) -> Round:
    """A round with what it read back and ran with; ``more`` are facts that are otherwise."""
    builds = {build_id_fact(name): seen for name, seen in BUILDS[item.kernel].items()}
    digests = {f"sha256.{name}": digest for name, digest in DIGESTS.items()}
    return replace(item, facts={**item.facts, **builds, **digests, **more})


ROUNDS = [recorded(item) for item in rounds_of({A: (420, 433), B: (0, 1)})]
"""Round 1 of A and of B, then round 2 of both."""


def refused(plan: Plan, rounds: list[Round], **more: Any) -> tuple[str, str]:
    """What is said, and the hint."""
    with pytest.raises(LabError) as caught:
        check(plan, rounds, **more)
    return str(caught.value), caught.value.hint


def test_what_belongs_together_is_taken() -> None:
    check(PLAN, ROUNDS)
    check(PLAN, ROUNDS[:1])
    check(PLAN, [], late=(A, B))


def test_rounds_of_other_sizes_are_not_compared() -> None:
    sized = [recorded(item, **USUAL.facts) for item in ROUNDS]
    check(PLAN, sized)
    check(replace(PLAN, sizes=Sizes.of(2)), [recorded(item, **Sizes.of(2).facts) for item in ROUNDS])
    said, hint = refused(replace(PLAN, sizes=Sizes.of(2)), sized)
    assert said == (
        f"round 1 of {CELL} on unpatched was measured with another scale than is planned: 1, wanted 2"
    )
    assert hint == MIXED
    torn = [*sized[:3], recorded(ROUNDS[3], **{**USUAL.facts, "sizes.l1_cpus": "1"})]
    assert refused(PLAN, torn)[0].endswith("with another l1_cpus than is planned: 1, wanted 2")


def test_results_of_an_older_guestloop_are_taken() -> None:
    bare = rounds_of({A: (420, 433), B: (0, 1)})
    check(OLD, bare)
    check(PLAN, bare)
    check(OLD, ROUNDS)
    compare(OLD, bare)


def test_strangers() -> None:
    assert refused(replace(PLAN, cells=(TDP,)), ROUNDS) == (
        f"round 1 of {CELL} on {A} is not in the plan",
        MIXED,
    )
    said, _ = refused(PLAN, [*ROUNDS, replace(ROUNDS[0], kernel="mutant")])
    assert said == f"round 1 of {CELL} on mutant is not in the plan"
    said, _ = refused(PLAN, ROUNDS, late=("mutant",))
    assert said == "the L1 of mutant, which complained late, is not in the plan"


def test_a_round_that_is_there_twice() -> None:
    assert refused(PLAN, [*ROUNDS, ROUNDS[2]]) == (f"round 2 of {CELL} on {A} is there twice", COPIED)


@pytest.mark.parametrize("number", [0, 5])
def test_a_round_beyond_the_plan(number: int) -> None:
    """Each of its two rounds can have been repeated."""
    check(PLAN, [*ROUNDS, replace(ROUNDS[0], round=4)])
    said, _ = refused(PLAN, [*ROUNDS, replace(ROUNDS[0], round=number)])
    assert said == f"round {number} of {CELL} on {A} is not in the plan, which has rounds 1 to 4"


def test_a_later_look_has_more_rounds() -> None:
    check(replace(PLAN, looks=(2, 8)), [*ROUNDS, replace(ROUNDS[0], round=16)])


@pytest.mark.parametrize(
    ("fact", "wanted"),
    [
        ("vmlinux.build_id", "a0" * 20),
        ("kvm.build_id", "b1" * 20),
        ("kvm_amd.build_id", "a2" * 20),
        ("sha256.agent", DIGESTS["agent"]),
        ("sha256.qemu", DIGESTS["qemu"]),
    ],
)
def test_another_build_than_the_plans(fact: str, wanted: str) -> None:
    rounds = [*ROUNDS[:3], recorded(ROUNDS[3], **{fact: "0bad"})]
    said, hint = refused(PLAN, rounds)
    assert said == (f"round 2 of {CELL} on {B} ran another build than the plan: {fact} 0bad, wanted {wanted}")
    assert hint == MIXED


@pytest.mark.parametrize(("fact", "first"), [("kvm.build_id", B), ("sha256.agent", A)])
def test_another_build_than_other_rounds_if_the_plan_has_none(fact: str, first: str) -> None:
    """A module is a kernel's own; the agent is the same for all kernels."""
    said, _ = refused(OLD, [*ROUNDS[:3], recorded(ROUNDS[3], **{fact: "0bad"})])
    assert f"on {B} ran another build than round 1 of {CELL} on {first}: {fact} 0bad" in said


@pytest.mark.parametrize(
    "facts", [{"kvm.build_id": ""}, {"other.build_id": "c0"}, {"release": "6.13"}, {"sha256.more": "c1"}]
)
def test_what_says_nothing_of_a_build_is_no_contradiction(facts: Mapping[str, str]) -> None:
    check(PLAN, [*ROUNDS[:3], recorded(ROUNDS[3], **facts)])


def test_a_round_without_an_l1_has_nothing_to_contradict() -> None:
    check(PLAN, [*ROUNDS[:3], replace(ROUNDS[3], facts={}, outcome=Outcome.INVALID)])


def test_a_verdict_rests_on_checked_rounds() -> None:
    with pytest.raises(LabError, match="is there twice"):
        compare(PLAN, [*ROUNDS, ROUNDS[0]])
    with pytest.raises(LabError, match=r"kvm\.build_id 0bad"):
        compare(PLAN, [recorded(ROUNDS[0], **{"kvm.build_id": "0bad"})])
