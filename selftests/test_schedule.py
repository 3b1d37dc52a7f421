# SPDX-License-Identifier: GPL-2.0-or-later
"""Which rounds are measured next: in what order, on which kernels, and within which time."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import pytest
from samples import CANDIDATE, REFERENCE, A, B, make_round, plan_of

from guestloop.job.schedule import Costs, Look, Slot, all_looks, divide, fit, next_look
from guestloop.results.cells import Cell, Mmu
from guestloop.results.findings import Finding, FindingKind
from guestloop.results.plan import Plan
from guestloop.results.records import Correctness, Outcome, Round

CELLS = tuple(Cell("asyncpf", mmu, {"load": "read-shared"}) for mmu in (Mmu.TDP, Mmu.DIRECT, Mmu.SHADOW))
TDP, DIRECT, SHADOW = IDS = tuple(cell.id for cell in CELLS)
ALL = dict.fromkeys(IDS, 1)  # of each, so many rounds are wanted
FOREVER = float("inf")


def plan(*looks: int, cells: tuple[Cell, ...] = CELLS, third: bool = False) -> Plan:
    further = (replace(CANDIDATE, name="third"),) if third else ()
    return replace(plan_of(REFERENCE, CANDIDATE, *further, cells=cells), looks=looks)


def done(slots: Iterable[Slot], seconds: float = 10.0) -> list[Round]:
    """Valid rounds of these slots."""
    return [
        make_round(slot.cell, slot.kernel, slot.round, 100, repeats=slot.repeats, seconds=seconds)
        for slot in slots
    ]


def invalid(item: Round, **more: object) -> Round:
    finding = Finding(FindingKind.INTERRUPTED, "it died")
    return replace(item, outcome=Outcome.INVALID, findings=(finding,), **more)  # type: ignore[arg-type]


def following(wanted: Plan, rounds: Sequence[Round], open_cells: Collection[str] = ()) -> Look:
    look = next_look(wanted, rounds, dict.fromkeys(open_cells, 1), Costs.of(rounds), FOREVER)
    assert look
    return look


def letters(look: Look) -> str:
    return "".join(slot.kernel[0] for slot in look.slots)


# --- order -----------------------------------------------------------------------------------------


def test_every_round_of_every_cell_runs_once_on_each_kernel() -> None:
    look = following(plan(3), [])
    wanted = {(cell, kernel, number) for cell in IDS for kernel in (A, B) for number in (1, 2, 3)}
    assert {(slot.cell.id, slot.kernel, slot.round) for slot in look.slots} == wanted
    assert len(look.slots) == len(wanted) == len({slot.label for slot in look.slots})
    assert next_look(plan(3), done(look.slots), ALL, Costs({}), FOREVER) is None


def test_kernels_alternate_a_b_b_a() -> None:
    look = following(plan(2), [])
    assert letters(look) == "uppuup" + "puuppu"
    for first, second in zip(look.slots[::2], look.slots[1::2], strict=True):
        assert (first.cell, first.round) == (second.cell, second.round), "a pair stays together"
        assert first.kernel != second.kernel
    for cell in CELLS:
        firsts = [slot.kernel for slot in look.slots[::2] if slot.cell == cell]
        assert set(firsts) == {A, B}, "each kernel is first in half of the rounds"


def test_three_kernels_alternate_a_b_c_c_b_a() -> None:
    look = following(plan(2, third=True), [])
    assert letters(look) == "upttpuupt" + "tpuupttpu"


def test_alternation_goes_on_over_the_looks() -> None:
    """And the rounds of a cell in a later look lie beside each other: it may be cut by whole cells."""
    first = following(plan(1, 2, 4), [])
    second = following(plan(1, 2, 4), done(first.slots), IDS)
    third = following(plan(1, 2, 4), done([*first.slots, *second.slots]), IDS)
    assert [letters(look) for look in (first, second, third)] == [
        "uppuup",
        "puuppu",
        "uppu" + "puup" + "uppu",
    ]
    assert [slot.round for slot in third.slots] == [3, 3, 4, 4] * 3
    assert [look.name for look in (first, second, third)] == ["look-1", "look-2", "look-3"]


# --- looks -----------------------------------------------------------------------------------------


def test_settled_cells_stop() -> None:
    wanted = plan(1, 2, 4)
    rounds = done(following(wanted, []).slots)
    look = following(wanted, rounds, {SHADOW})
    assert [(slot.cell.id, slot.round) for slot in look.slots] == [(SHADOW, 2)] * 2
    rounds += done(look.slots)
    look = following(wanted, rounds, {SHADOW})
    assert {slot.round for slot in look.slots} == {3, 4}
    assert all_looks(wanted, rounds + done(look.slots), {SHADOW}) == [], "open, and has all its rounds"
    assert all_looks(wanted, rounds, ()) == []


def test_a_cell_that_is_open_again_catches_up() -> None:
    """The judgement on a cell may depend on the others."""
    wanted = plan(1, 2, 4)
    rounds = done(following(wanted, []).slots)
    rounds += done(following(wanted, rounds, {SHADOW}).slots)
    look = following(wanted, rounds, {SHADOW, TDP})
    assert (look.number, set(look.by_cell)) == (2, {TDP})


def test_an_interrupted_look_is_completed_first() -> None:
    wanted = plan(1, 2)
    first, *rest = following(wanted, []).slots
    look = following(wanted, done([first]))
    assert look.slots == tuple(rest), "the other kernel of the first cell, then all others"
    assert look.number == 1 and look.whole == set(IDS)
    rounds = done([first, *rest])
    second = following(wanted, rounds, IDS)
    rounds += done(second.slots[:3])
    look = following(wanted, rounds, ())
    assert look.slots == (second.slots[3],), "no kernel has a round more than another, also in a settled cell"
    assert next_look(wanted, rounds, {}, Costs({}), 0.0) == look, "whatever the budget"


# --- repeats ---------------------------------------------------------------------------------------


def test_an_invalid_round_is_repeated_once_on_all_kernels() -> None:
    wanted = plan(1, 2, cells=CELLS[:1])
    good, bad = done(following(wanted, []).slots)
    look = following(wanted, [good, invalid(bad)], IDS)
    assert [(slot.round, slot.repeats) for slot in look.slots] == [(2, 1), (2, 1), (3, 0), (3, 0)]
    rounds = [good, invalid(bad), *done(look.slots)]
    assert all_looks(wanted, rounds, IDS) == []
    again = [invalid(item) if item.repeats else item for item in rounds]
    assert all_looks(wanted, again, IDS) == [], "a repeat is not repeated"


def test_a_settled_cell_and_a_last_look_are_repeated_too() -> None:
    """--rounds fixes how many are planned. What is repeated comes on top."""
    wanted = plan(2, cells=CELLS[:1])
    rounds = done(following(wanted, []).slots)
    rounds[3] = invalid(rounds[3])
    look = following(wanted, rounds)
    assert (look.number, look.name, look.whole) == (0, "repeats", frozenset())
    assert [(slot.round, slot.repeats) for slot in look.slots] == [(3, 2), (3, 2)]


def test_a_kernel_that_never_works_is_not_waited_for() -> None:
    wanted = plan(2, cells=CELLS[:1])
    rounds = [invalid(item) if item.kernel == B else item for item in done(following(wanted, []).slots)]
    assert all_looks(wanted, rounds, ()) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"correctness": Correctness.FAIL},
        {"findings": (Finding(FindingKind.CONTENTS, "2 pages are wrong"),)},
    ],
)
def test_a_lone_wrong_round_is_repeated_once(fields: dict[str, object]) -> None:
    wanted = plan(1, 3, cells=CELLS[:1])
    good, bad = done(following(wanted, []).slots)
    wrong = replace(invalid(bad), **fields)  # type: ignore[arg-type]
    look = all_looks(wanted, [good, wrong], ())[0]
    assert [(slot.round, slot.repeats) for slot in look.slots] == [(2, 1), (2, 1)]
    repeated = [good, wrong, *done(look.slots)]
    assert all_looks(wanted, repeated, ()) == []
    twice = [replace(wrong, round=number) for number in (1, 2)]
    partners = [replace(good, round=number) for number in (1, 2)]
    assert all_looks(wanted, [*partners, *twice], ()) == [], "two are no matter of chance"


def test_skipped_rounds_are_not_repeated() -> None:
    wanted = plan(1, cells=CELLS[:1])
    good, bad = done(following(wanted, []).slots)
    skipped = replace(invalid(bad), outcome=Outcome.SKIPPED, findings=())
    assert all_looks(wanted, [good, skipped], ()) == []


def test_what_is_skipped_once_is_not_tried_again() -> None:
    """A fresh boot for each of ten rounds would show ten times that the hardware has not what it needs."""
    wanted = plan(10)
    first = [slot for slot in following(wanted, []).slots if slot.round == 1]
    rounds = done(first)
    skipped = [
        replace(item, outcome=Outcome.SKIPPED) if item.cell.id == DIRECT and item.kernel == B else item
        for item in rounds
    ]
    look = following(wanted, skipped)
    assert set(look.by_cell) == {TDP, SHADOW} and {slot.round for slot in look.slots} == set(range(2, 11))
    both = [replace(item, outcome=Outcome.SKIPPED) for item in rounds]
    assert all_looks(wanted, both, ()) == []
    torn = [item for item in skipped if item.cell.id != DIRECT or item.kernel == B]
    assert DIRECT in following(wanted, torn).by_cell, "each kernel has its say"


def test_a_torn_repeat_repeats_the_same_round() -> None:
    wanted = plan(1, cells=CELLS[:1])
    good, bad = done(following(wanted, []).slots)
    first, second = following(wanted, [good, invalid(bad)]).slots
    assert following(wanted, [good, invalid(bad), *done([first])]).slots == (second,)


# --- time ------------------------------------------------------------------------------------------


def test_costs_are_what_the_cell_took_so_far() -> None:
    slots = following(plan(1), []).slots
    assert Costs.of([]).seconds(slots) == len(slots) * (15 + 2), "before anything is known"
    rounds = [
        make_round(CELLS[0], A, 1, 100, seconds=10.0),
        make_round(CELLS[0], B, 1, 100, seconds=20.0),
        make_round(CELLS[1], A, 1, 100, seconds=60.0),
        make_round(CELLS[1], B, 1, 100, seconds=0.0),  # its test died
    ]
    costs = Costs.of(rounds, overhead_s=1.0)
    assert [costs.seconds([Slot(cell, A, 2)]) for cell in CELLS] == [16, 61, 31], "30 s is the mean of all"


def test_a_look_is_cut_by_whole_cells_the_cheapest_first() -> None:
    wanted = plan(1, 2)
    rounds = done(following(wanted, []).slots)
    look = following(wanted, rounds, IDS)
    costs = Costs({TDP: 30.0, DIRECT: 10.0, SHADOW: 20.0}, overhead_s=0.0)
    for left_s, cells in [(120, IDS), (119, (DIRECT, SHADOW)), (59, (DIRECT,)), (20, (DIRECT,)), (19, ())]:
        assert tuple(fit(look, costs, left_s, ALL).by_cell) == cells, "they keep their order"
    assert next_look(wanted, rounds, ALL, costs, 19) is None
    assert next_look(wanted, [], {}, costs, 0) == following(wanted, []), "the first look is measured whole"


def test_the_cells_that_are_settled_soonest_come_first() -> None:
    wanted = plan(1, 2)
    rounds = done(following(wanted, []).slots)
    look = following(wanted, rounds, IDS)
    costs = Costs({TDP: 10.0, DIRECT: 10.0, SHADOW: 20.0}, overhead_s=0.0)
    needed = {TDP: 11, DIRECT: 4, SHADOW: 3}
    for left_s, cells in [(20, (DIRECT,)), (59, (TDP, DIRECT)), (60, (DIRECT, SHADOW)), (39, (DIRECT,))]:
        assert set(fit(look, costs, left_s, needed).by_cell) == set(cells), left_s


def test_cells_that_are_cheap_go_on_where_others_do_not_fit() -> None:
    wanted = plan(1, 2, 3)
    rounds = done(following(wanted, []).slots)
    rounds += done(slot for slot in following(wanted, rounds, IDS).slots if slot.cell.id != TDP)
    costs = Costs({TDP: 60.0, DIRECT: 10.0, SHADOW: 10.0}, overhead_s=0.0)
    look = next_look(wanted, rounds, ALL, costs, 50)
    assert look and (look.number, tuple(look.by_cell)) == (3, (DIRECT, SHADOW))


# --- labs side by side -----------------------------------------------------------------------------


def test_labs_share_the_cells_so_that_all_take_about_as_long() -> None:
    look = following(plan(2), [])
    costs = Costs({TDP: 30.0, DIRECT: 10.0, SHADOW: 25.0}, overhead_s=0.0)
    assert divide(look, costs, 1) == dict.fromkeys(IDS, 0)
    assert divide(look, costs, 2) == {TDP: 0, SHADOW: 1, DIRECT: 1}
    assert divide(look, costs, 9) == {TDP: 0, SHADOW: 1, DIRECT: 2}, "a cell is not divided"


def test_labs_side_by_side_get_more_into_the_same_time() -> None:
    wanted = plan(1, 2)
    rounds = done(following(wanted, []).slots)
    look = following(wanted, rounds, IDS)
    costs = Costs({TDP: 30.0, DIRECT: 10.0, SHADOW: 20.0}, overhead_s=0.0)
    assert tuple(fit(look, costs, 60.0, ALL, labs=2).by_cell) == IDS
    assert tuple(fit(look, costs, 59.0, ALL, labs=9).by_cell) == (DIRECT, SHADOW), "TDP takes 60 s in any lab"
    assert tuple(fit(look, costs, 40.0, ALL, labs=1).by_cell) == (DIRECT,)
    assert tuple(fit(look, costs, 40.0, ALL, labs=2).by_cell) == (DIRECT, SHADOW)
    assert next_look(wanted, rounds, ALL, costs, 19.0, labs=9) is None


# --- a whole run -----------------------------------------------------------------------------------

MANY = tuple(
    Cell("asyncpf", mmu, {"load": f"load-{n}"}) for mmu in (Mmu.TDP, Mmu.DIRECT, Mmu.SHADOW) for n in range(7)
)


@pytest.mark.parametrize("seed", range(8))
def test_a_budget_is_exceeded_by_no_more_than_one_cell(seed: int) -> None:
    """With rounds of unlike length, cells that settle sooner or later, and rounds that prove nothing."""
    chance = random.Random(seed)
    wanted = plan(1, 2, 4, 8, cells=MANY)
    takes = {cell.id: chance.uniform(3, 40) for cell in MANY}
    settles = {cell.id: chance.choice([1, 2, 4, 8, 9]) for cell in MANY}
    budget_s, now, dearest = 1800.0, 0.0, 0.0
    rounds: list[Round] = []

    def unsettled() -> dict[str, int]:
        valid = {name: sum(item.cell.id == name for item in rounds) // 2 for name in takes}
        return {name: settles[name] for name, number in valid.items() if number < settles[name]}

    while look := next_look(wanted, rounds, unsettled(), Costs.of(rounds, 0.0), budget_s - now):
        for slots in look.by_cell.values():
            if look.number != 1 and Costs.of(rounds, 0.0).seconds(slots) > budget_s - now:
                continue
            seconds = [takes[slot.cell.id] * chance.uniform(0.8, 1.25) for slot in slots]
            made = [done([slot], each)[0] for slot, each in zip(slots, seconds, strict=True)]
            rounds += [invalid(item) if chance.random() < 0.02 else item for item in made]
            now += sum(seconds)
            dearest = max(dearest, sum(seconds))
    assert budget_s * 0.8 < now < budget_s + dearest
    for cell in MANY:
        own = [item for item in rounds if item.cell == cell]
        numbers = {kernel: sorted(item.round for item in own if item.kernel == kernel) for kernel in (A, B)}
        assert numbers[A] == numbers[B] == list(range(1, len(numbers[A]) + 1)), "equal, and without a gap"
        firsts = [a.kernel for a, b in zip(own[::2], own[1::2], strict=True) if a.round == b.round]
        assert len(set(firsts[::2])) == 1 and not set(firsts[::2]) & set(firsts[1::2]), "A B, B A, A B"
