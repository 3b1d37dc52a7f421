# SPDX-License-Identifier: GPL-2.0-or-later
"""Which rounds are measured next (pure): from the rounds that are there, cells that are open, and time left.

A cell is measured on all kernels alike: a round has one number, and kernels follow one another in it, A B C
and then C B A, so that a drift of the host does not favour one of them. Rounds of a plan are measured look by
look. A round that was invalid on some kernel is repeated once on all of them, under the next number, so that
partners are still measured next to each other; both are kept. The same holds for a round that is the only
wrong one of its kernel in a cell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from guestloop.results.cells import Cell
from guestloop.results.plan import Plan
from guestloop.results.records import Round

USUAL_ROUND_S = 15.0
"""What a round takes before any of this run has told."""

USUAL_OVERHEAD_S = 2.0
"""What it takes beside the seconds that its record has: Avocado's processes, and boots of L1s."""

HOPELESS = 2
"""So many rounds of a kernel in a cell, all of them invalid, are not repeated: it does not work there."""


@dataclass(frozen=True)
class Slot:
    """One test of the job: a round of a cell on one kernel.

    ``repeats`` is that of a Round; ``probed``: see Plan.probes.
    """

    cell: Cell
    kernel: str
    round: int
    repeats: int = 0
    probed: bool = False

    @property
    def label(self) -> str:
        """The name of its test in what Avocado writes; no two slots of a run have the same."""
        return f"{self.cell.id}-{self.kernel}-{self.round}"


@dataclass(frozen=True)
class Look:
    """Rounds that are measured before the cells are judged again, in the order in which they run.

    ``number`` counts the looks of the plan from 1; 0 if there is nothing left but rounds to be repeated.
    ``whole`` has the cells that are measured whatever the budget: all of the first look, and those of which
    one kernel has a round that another lacks.
    """

    number: int
    slots: tuple[Slot, ...]
    whole: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return f"look-{self.number}" if self.number else "repeats"

    @cached_property
    def by_cell(self) -> Mapping[str, Sequence[Slot]]:
        """Its slots by cell id."""
        found: dict[str, list[Slot]] = {}
        for slot in self.slots:
            found.setdefault(slot.cell.id, []).append(slot)
        return found

    def only(self, cells: Collection[str]) -> Look:
        """The same with some of its cells."""
        return replace(self, slots=tuple(slot for slot in self.slots if slot.cell.id in cells))


@dataclass(frozen=True)
class Costs:
    """What a round takes, in seconds of wall time: as its cell did so far in this run, and an overhead."""

    by_cell: Mapping[str, float]
    usual_s: float = USUAL_ROUND_S
    overhead_s: float = USUAL_OVERHEAD_S

    @classmethod
    def of(cls, rounds: Sequence[Round], overhead_s: float = USUAL_OVERHEAD_S) -> Costs:
        """Learn from rounds. One that never began, or whose test died, says nothing."""
        seconds: dict[str, list[float]] = {}
        for item in rounds:
            if item.seconds > 0:
                seconds.setdefault(item.cell.id, []).append(item.seconds)
        every = [each for own in seconds.values() for each in own]
        usual_s = sum(every) / len(every) if every else USUAL_ROUND_S
        return cls({name: sum(own) / len(own) for name, own in seconds.items()}, usual_s, overhead_s)

    def of_a_round(self, cell: str) -> float:
        """What a round of this cell is expected to take."""
        return self.by_cell.get(cell, self.usual_s) + self.overhead_s

    def seconds(self, slots: Sequence[Slot]) -> float:
        """What all of these are expected to take."""
        return sum(self.of_a_round(slot.cell.id) for slot in slots)


@dataclass(frozen=True)
class CellProgress:
    """How far a cell has come: its rounds by number and kernel."""

    kernels: tuple[str, ...]
    rounds: Mapping[int, Mapping[str, Round]]

    @classmethod
    def of(cls, plan: Plan, cell: Cell, rounds: Sequence[Round]) -> CellProgress:
        found: dict[int, dict[str, Round]] = {}
        for item in rounds:
            if item.cell.id == cell.id:
                found.setdefault(item.round, {})[item.kernel] = item
        return cls(tuple(kernel.name for kernel in plan.kernels.measured), found)

    @property
    def planned(self) -> int:
        """How many of its rounds repeat none."""
        return sum(not self._repeats(number) for number in self.rounds)

    @property
    def is_skipped(self) -> bool:
        """Something that it needs is not there, in one round as in all others."""
        return any(item.is_skipped for own in self.rounds.values() for item in own.values())

    def is_short_of(self, goal: int) -> bool:
        """Whether it is to have more rounds for want of so many."""
        return self.planned < goal and not self.is_skipped

    @property
    def torn(self) -> list[int]:
        """Rounds that were measured on some kernels and not on others."""
        return [number for number, own in sorted(self.rounds.items()) if not own.keys() >= set(self.kernels)]

    @property
    def owed(self) -> list[int]:
        """Rounds that were invalid on a kernel, or the only wrong one there, and were not repeated yet."""
        repeated = {self._repeats(number) for number in self.rounds}
        return [
            number
            for number, own in sorted(self.rounds.items())
            if not self._repeats(number)
            and number not in repeated
            and any(self._proves_nothing(item) or self._is_lone_fault(item) for item in own.values())
        ]

    def _repeats(self, number: int) -> int:
        return next(iter(self.rounds[number].values())).repeats

    def _proves_nothing(self, item: Round) -> bool:
        """Nor is it a finding about its kernel, as a wrong round is, or one of a kernel that never works."""
        return item.is_invalid and not item.is_wrong and item.kernel not in self._hopeless

    def _is_lone_fault(self, item: Round) -> bool:
        """One wrong round may be a matter of chance. Two of a kernel are not looked at again."""
        return item.is_wrong and self._wrong[item.kernel] == 1

    @cached_property
    def _wrong(self) -> Counter[str]:
        return Counter(item.kernel for own in self.rounds.values() for item in own.values() if item.is_wrong)

    @cached_property
    def _hopeless(self) -> set[str]:
        found = {name: [own[name] for own in self.rounds.values() if name in own] for name in self.kernels}
        return {
            name
            for name, own in found.items()
            if len(own) >= HOPELESS and all(item.is_invalid for item in own)
        }

    def numbers(self, goal: int) -> dict[int, int]:
        """The rounds to measure until ``goal`` planned ones are there: which round each of them repeats."""
        torn = {number: self._repeats(number) for number in self.torn}
        new = [*self.owed, *[0] * (goal - self.planned if self.is_short_of(goal) else 0)]
        return torn | dict(enumerate(new, max(self.rounds, default=0) + 1))

    def lacking(self, number: int) -> list[str]:
        """Kernels that have no such round."""
        return [name for name in self.kernels if name not in self.rounds.get(number, {})]


def all_looks(plan: Plan, rounds: Sequence[Round], open_cells: Collection[str]) -> list[Look]:
    """The looks that are left if no cell is settled any more: each has what is missing up to it.

    The first one is what is measured next. ``open_cells`` are ids of cells that are not settled.
    """
    progress = [CellProgress.of(plan, cell, rounds) for cell in plan.cells]
    found = []
    for number, goal in enumerate(plan.looks, 1):
        goals = [goal if number == 1 or cell.id in open_cells else 0 for cell in plan.cells]
        if any(own.is_short_of(goal) for own, goal in zip(progress, goals, strict=True)):
            found.append(_look(plan, number, progress, goals))
    rest = _look(plan, 0, progress, [0] * len(progress))
    return found or ([rest] if rest.slots else [])


def _look(plan: Plan, number: int, progress: Sequence[CellProgress], goals: Sequence[int]) -> Look:
    slots = [
        (index, slot)
        for index, (cell, own, goal) in enumerate(zip(plan.cells, progress, goals, strict=True))
        for slot in _slots(plan, cell, index, own, goal)
    ]
    if number == 1:  # every cell has had its first round before any has its second
        slots.sort(key=lambda item: (item[1].round, item[0]))
    torn = {cell.id for cell, own in zip(plan.cells, progress, strict=True) if own.torn}
    whole = {slot.cell.id for _, slot in slots} if number == 1 else torn
    return Look(number, tuple(slot for _, slot in slots), frozenset(whole))


def _slots(plan: Plan, cell: Cell, index: int, progress: CellProgress, goal: int) -> list[Slot]:
    found = []
    for number, repeats in progress.numbers(goal).items():
        names = progress.lacking(number)
        turned = (number + index) % 2 == 0
        found += [
            Slot(cell, kernel, number, repeats, plan.probes(cell, kernel, number, repeats))
            for kernel in (names[::-1] if turned else names)
        ]
    return found


def fit(look: Look, costs: Costs, left_s: float, wanted: Mapping[str, int], labs: int = 1) -> Look:
    """As many cells of a look as there is time for, each with all its rounds.

    Those come first that are settled soonest: ``wanted`` is how many rounds that takes, by cell. So many
    ``labs`` measure side by side, each of them other cells.
    """
    taken = set(look.whole)
    seconds = {name: costs.seconds(slots) for name, slots in look.by_cell.items()}
    room_s = labs * left_s - sum(seconds[name] for name in taken & seconds.keys())
    further = [name for name in seconds if name not in taken]
    for name in sorted(further, key=lambda name: costs.of_a_round(name) * wanted.get(name, 1)):
        if seconds[name] <= min(left_s, room_s):
            taken.add(name)
            room_s -= seconds[name]
    return look.only(taken)


def next_look(
    plan: Plan,
    rounds: Sequence[Round],
    wanted: Mapping[str, int],
    costs: Costs,
    left_s: float,
    labs: int = 1,
) -> Look | None:
    """What is measured next, within the time that is left; None: nothing, or nothing that fits.

    ``wanted``: how many rounds may settle what is not settled, by cell id (looks.py).
    """
    looks = (fit(look, costs, left_s, wanted, labs) for look in all_looks(plan, rounds, wanted))
    return next((look for look in looks if look.slots), None)


def divide(look: Look, costs: Costs, labs: int) -> Mapping[str, int]:
    """Which of so many labs, from 0, measures which cell, so that all of them take about as long.

    A cell is not divided: its rounds on all kernels are measured next to each other, in one lab.
    """
    busy_s = [0.0] * labs
    found = {}
    seconds = {name: costs.seconds(slots) for name, slots in look.by_cell.items()}
    for name in sorted(seconds, key=lambda name: -seconds[name]):
        found[name] = busy_s.index(min(busy_s))
        busy_s[found[name]] += seconds[name]
    return found
