# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a cell can differ, from what probes have seen of the functions that do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from samples import SHADOW, A, B, make_round

from guestloop.results.changes import ChangedFunction, Changes, Probed
from guestloop.results.reach import NeverRan, Ran, Unproven, reach_of
from guestloop.results.records import Outcome, Round

SPTE = ChangedFunction("kvm", "mmu_spte_update", ("mmu_spte_update",), ("mmu_spte_update",))
ADDED = ChangedFunction("kvm", "new_helper", (), ("new_helper",))
CHANGES = Changes((SPTE, ADDED))


def probed(kernel: str, number: int = 1, /, **hits: int) -> Round:
    seen = {f"kvm:{name}": count for name, count in hits.items()}
    return make_round(SHADOW, kernel, number, 0, probed=Probed(seen))


UNTOUCHED_A = probed(A, mmu_spte_update=0)
UNTOUCHED_B = probed(B, mmu_spte_update=0, new_helper=0)


def test_a_cell_in_which_nothing_that_differs_runs_cannot_differ() -> None:
    assert reach_of(CHANGES, [UNTOUCHED_A], [UNTOUCHED_B]) == NeverRan()
    later = [make_round(SHADOW, kernel, 2, 9) for kernel in (A, B)]
    assert reach_of(CHANGES, [UNTOUCHED_A, later[0]], [UNTOUCHED_B, later[1]]) == NeverRan()


def test_a_call_on_either_kernel_is_enough() -> None:
    hit_a, hit_b = probed(A, mmu_spte_update=3), probed(B, mmu_spte_update=0, new_helper=2)
    assert reach_of(CHANGES, [hit_a], [UNTOUCHED_B]) == Ran({A: {"kvm:mmu_spte_update": 3}})
    assert reach_of(CHANGES, [UNTOUCHED_A], [hit_b]) == Ran({B: {"kvm:new_helper": 2}})
    again = probed(A, 2, mmu_spte_update=4)
    assert reach_of(CHANGES, [hit_a, again], [hit_b]) == Ran(
        {A: {"kvm:mmu_spte_update": 7}, B: {"kvm:new_helper": 2}}
    )
    broken = replace(hit_a, outcome=Outcome.INVALID)
    assert isinstance(reach_of(CHANGES, [broken], [UNTOUCHED_B]), Ran), "a call is one, whatever came of it"


def test_functions_of_another_candidate_say_nothing_about_this_one() -> None:
    other = probed(A, mmu_spte_update=0, of_another=9)
    assert reach_of(CHANGES, [other], [UNTOUCHED_B]) == NeverRan()


def test_equal_machine_code_needs_no_round() -> None:
    assert reach_of(Changes(), [], []) == NeverRan()


def test_what_an_earlier_run_has_seen_stands() -> None:
    known = Ran({A: {"kvm:mmu_spte_update": 3}}, "results/1")
    assert reach_of(CHANGES, [], [], known) == known
    hit = probed(A, mmu_spte_update=5)
    assert reach_of(CHANGES, [hit], [], known) == Ran({A: {"kvm:mmu_spte_update": 5}}), "this run says more"


@pytest.mark.parametrize(
    ("changes", "reference", "candidate", "why"),
    [
        (
            Changes((), ("kvm:ops",)),
            UNTOUCHED_A,
            UNTOUCHED_B,
            "data differs, whose use nothing counts: kvm:ops",
        ),
        (
            Changes((replace(SPTE, unprobeable="it runs at boot"),)),
            UNTOUCHED_A,
            UNTOUCHED_B,
            "kvm:mmu_spte_update cannot be probed: it runs at boot",
        ),
        (CHANGES, make_round(SHADOW, A, 1, 0), UNTOUCHED_B, "no round on the reference that proves anything"),
        (
            CHANGES,
            UNTOUCHED_A,
            replace(UNTOUCHED_B, outcome=Outcome.INVALID),
            "no round on the candidate that proves anything ran with probes",
        ),
        (
            CHANGES,
            UNTOUCHED_A,
            probed(B, new_helper=0),
            "kvm:mmu_spte_update was not probed on patched: no probe",
        ),
        (
            CHANGES,
            replace(UNTOUCHED_A, probed=Probed({}, {"kvm:mmu_spte_update": "Invalid argument"})),
            UNTOUCHED_B,
            "kvm:mmu_spte_update was not probed on unpatched: Invalid argument",
        ),
    ],
)
def test_without_proof_nothing_is_said(
    changes: Changes, reference: Round, candidate: Round, why: str
) -> None:
    found = reach_of(changes, [reference], [candidate])
    assert isinstance(found, Unproven) and found.why.startswith(why)


def test_a_round_is_disturbed_by_probes_that_are_hit_while_it_counts() -> None:
    hit = probed(A, mmu_spte_update=1)
    assert hit.probed and not hit.is_disturbed, "before counting began"
    assert replace(hit, probed=replace(hit.probed, disturbing=1)).is_disturbed
    assert not UNTOUCHED_A.is_disturbed and not make_round(SHADOW, A, 1, 0).is_disturbed
