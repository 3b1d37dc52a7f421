# SPDX-License-Identifier: GPL-2.0-or-later
"""One sitting of a run while it measures: which rounds are there, which come next, and how long is left.

The suites, the spawner and the progress of a job share one object of this.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from guestloop.ground.date import now_utc
from guestloop.ground.errors import LabError
from guestloop.ground.log import duration, say
from guestloop.ground.words import plural
from guestloop.job.looks import wanted_rounds
from guestloop.job.schedule import USUAL_OVERHEAD_S, Costs, Look, Slot, all_looks, divide, next_look
from guestloop.lab.spec import RunningLab
from guestloop.machines.conditions import read_boot_id
from guestloop.results.files import read_json
from guestloop.results.plan import Plan
from guestloop.results.records import Round, parse_round, read_rounds, round_path
from guestloop.results.sittings import Ending, MeasuredLook, OpenCell, Sitting, read_sittings, write_sitting

SITTING_KEY = "guestloop.sitting"
"""Where a job and its suites have it in their configuration."""

WantedRounds = Callable[[Plan, Sequence[Round]], Mapping[str, int]]


class CurrentSitting:
    """Measures a plan look by look. ``find_wanted`` judges which cells want more rounds.

    ``plan`` has the looks and the budget of this sitting; ``clock`` returns seconds of wall time. The budget
    begins to run at once. ``labs`` measure side by side; without any, tests find theirs by themselves.
    """

    def __init__(
        self,
        plan: Plan,
        out: Path,
        find_wanted: WantedRounds = wanted_rounds,
        clock: Callable[[], float] = time.monotonic,
        labs: Sequence[RunningLab] = (),
    ) -> None:
        self.plan, self.out, self.labs = plan, out, tuple(labs)
        self._find_wanted, self._clock = find_wanted, clock
        self._begun = clock()
        self._ended_at: dict[int, float] = {}  # by lane: when its last round of this look ended
        self._overheads: list[float] = []
        self.rounds = read_rounds(out)
        self._new: list[Round] = []
        self._ran: set[str] = set()  # labels
        self.look: Look | None = None
        self._labels: dict[str, Slot] = {}  # of this look, as is what follows
        self._fits: dict[str, bool] = {}  # by cell
        self._lanes: Mapping[str, int] = {}  # by cell
        self._order: list[str] = []  # of labels, as their tests began
        self._look_begun, self._look_rounds = self._begun, 0
        number = max((one.number for one in read_sittings(out)), default=0) + 1
        self.record = Sitting(
            number,
            len(self.rounds),
            plan.looks,
            plan.budget_s,
            boot_id=read_boot_id(),
            labs=self.lane_count,
        )

    @property
    def lane_count(self) -> int:
        """How many rounds are measured side by side."""
        return max(1, len(self.labs))

    @property
    def left_s(self) -> float:
        """How much of the budget is left; without one there is no end."""
        if self.plan.budget_s is None:
            return float("inf")
        return self.plan.budget_s - (self._clock() - self._begun)

    @property
    def costs(self) -> Costs:
        """What rounds take, and what they usually take beside in this sitting.

        That is the median: L1s that are booted once for all rounds are not to be expected again.
        """
        return Costs.of(self.rounds, median(self._overheads) if self._overheads else USUAL_OVERHEAD_S)

    def begin_look(self) -> Look | None:
        """Judge what is there, and begin the next look that fits; None: there is none.

        Raises LabError if rounds of the last one have left no record: they would be measured for ever.
        """
        self.close_look()
        costs, lanes = self.costs, self.lane_count
        look = next_look(self.plan, self.rounds, self._wanted(), costs, self.left_s, lanes)
        if look and self._ran & {slot.label for slot in look.slots}:
            raise LabError(f"{self.out}: rounds were measured and left no record", hint="is it still there?")
        self.look, self._fits = look, {}
        self._labels = {slot.label: slot for slot in look.slots} if look else {}
        self._lanes, self._order = divide(look, costs, lanes) if look else {}, []
        self._look_begun, self._look_rounds = self._clock(), len(self._new)
        self._ended_at = dict.fromkeys(range(lanes), self._look_begun)
        if look and len(self.plan.looks) > 1:
            size = f"{plural(len(look.by_cell), 'cell')}, {plural(len(look.slots), 'round')}"
            say(f"==> {self._title(look)}: {size}")
        write_sitting(self.out, self.record)
        return look

    def _title(self, look: Look) -> str:
        if not look.number:
            return "rounds that proved nothing are repeated"
        return f"look {look.number} of {len(self.plan.looks)}"

    def _wanted(self) -> Mapping[str, int]:
        return self._find_wanted(self.plan, self.rounds) if len(self.plan.looks) > 1 and self.rounds else {}

    def slot(self, label: str) -> Slot:
        """The slot of the current look whose test has this name."""
        return self._labels[label]

    def lane_of(self, slot: Slot) -> int:
        """Which of the labs measures a slot of the current look, from 0."""
        return self._lanes[slot.cell.id]

    def lab_of(self, slot: Slot) -> RunningLab | None:
        """The lab that measures it; None: its test finds one by itself."""
        return self.labs[self.lane_of(slot)] if self.labs else None

    def begin(self, slot: Slot) -> None:
        """The test of a slot has begun, which may be told that it is not to."""
        self._order.append(slot.label)

    def position(self, slot: Slot) -> int:
        """How many-th of the look it is, from 1: as it began, and before any has begun as it is planned."""
        order = self._order if slot.label in self._order else list(self._labels)
        return order.index(slot.label) + 1

    @property
    def rest_s(self) -> float:
        """How long what is not over yet of the look will take: that of the lab with the most to do."""
        rest: list[list[Slot]] = [[] for _ in range(self.lane_count)]
        for slot in self._labels.values():
            if slot.label not in self._ran and self._fits.get(slot.cell.id, True):
                rest[self.lane_of(slot)].append(slot)
        costs = self.costs
        return max(map(costs.seconds, rest))

    def may_start(self, slot: Slot) -> bool:
        """Whether a round still fits: decided for all rounds of its cell, when the first of them is due."""
        look, cell = self.look, slot.cell.id
        assert look
        if cell not in self._fits:
            fits = self.costs.seconds(look.by_cell[cell]) <= self.left_s
            self._fits[cell] = fits or cell in look.whole
        return self._fits[cell]

    def end(self, slot: Slot) -> Round | None:
        """A round has ended; returns its record, None if it has none."""
        lane, now = self.lane_of(slot), self._clock()
        before, self._ended_at[lane] = self._ended_at[lane], now
        self._ran.add(slot.label)
        path = round_path(self.out, slot.cell, slot.kernel, slot.round)
        if not path.exists():
            return None
        record = read_json(path, parse_round)
        self.rounds.append(record)
        self._new.append(record)
        self._overheads.append(max(0.0, now - before - record.seconds))
        return record

    def close_look(self) -> None:
        """Record the look that has run, if there is one."""
        new = self._new[self._look_rounds :] if self.look else []
        if self.look and new:
            cells = len({item.cell.id for item in new})
            seconds = self._clock() - self._look_begun
            done = MeasuredLook(self.look.name, cells, len(new), seconds)
            self.record = replace(self.record, measured=(*self.record.measured, done))
        self.look = None

    def finish(self, complete: bool) -> Sitting:
        """Store the record of this sitting. Not ``complete``: it was interrupted."""
        self.close_look()
        left = self._left() if complete else ()
        ending = Ending.INTERRUPTED if not complete else Ending.BUDGET if left else Ending.COMPLETE
        self.record = replace(self.record, left=left, ending=ending, ended=now_utc())
        write_sitting(self.out, self.record)
        return self.record

    def _left(self) -> tuple[OpenCell, ...]:
        looks, costs = all_looks(self.plan, self.rounds, self._wanted()), self.costs
        return tuple(
            OpenCell(cell, slots[0].round - 1, len(slots), costs.seconds(slots))
            for look in looks[-1:]
            for cell, slots in look.by_cell.items()
        )


def describe_left(sitting: Sitting, out: Path) -> list[str]:
    """What the budget has left open, for the user; nothing if it was enough."""
    if not sitting.left:
        return []
    seconds = duration(sum(one.seconds for one in sitting.left))
    cells = plural(len(sitting.left), "cell is", "cells are")
    they = "it" if len(sitting.left) == 1 else "they"
    return [
        f"==> budget spent: {cells} open, {they} would need up to {seconds} more;",
        f"      scripts/run --resume {out} goes on",
        *(
            f"      {one.cell}: {plural(one.rounds, 'round')} per kernel, up to {duration(one.seconds)} more"
            for one in sitting.left
        ),
    ]
