# SPDX-License-Identifier: GPL-2.0-or-later
"""When the rounds of a result directory were measured: in one go, or in several by ``--resume``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from guestloop.ground.codec import decode, encode
from guestloop.results.files import read_json, write_json
from guestloop.results.plan import Plan

SITTINGS = "sittings"
"""The directory of the records below the result directory, a file for each."""


class Ending(StrEnum):
    """How a sitting came to its end; one that was killed has none."""

    COMPLETE = "complete"  # every cell is settled, or has the rounds of the last look
    BUDGET = "budget"  # some cell is open, and its next rounds did not fit into the budget
    INTERRUPTED = "interrupted"  # by the user


@dataclass(frozen=True)
class MeasuredLook:
    """A look, or what was measured of it: its cells, rounds on all kernels, and how long they took."""

    name: str
    cells: int
    rounds: int
    seconds: float


@dataclass(frozen=True)
class OpenCell:
    """A cell that may need more rounds: how many it has, how many more it may get, and what these take.

    ``rounds`` are those of each kernel, ``seconds`` is the estimate for all of ``more``, which are the rounds
    on all kernels up to the last look.
    """

    cell: str
    rounds: int
    more: int
    seconds: float


@dataclass(frozen=True)
class Sitting:
    """What was measured between one start of guestloop and its end. ``number`` counts from 1.

    A later one than the first has resumed the run, with ``rounds_before`` there already. ``looks`` and
    ``budget_s`` are what this sitting was to keep, and may be others than the plan's. ``left`` are the cells
    that were left open for want of budget. ``ended`` is when it came to its end, UTC as in ISO 8601; empty if
    it was killed, and in results of a guestloop that did not record it. ``boot_id`` tells the boot of the
    host that measured it from all others (/proc/sys/kernel/random/boot_id); empty where it is not known.
    ``labs`` measured side by side.
    """

    number: int
    rounds_before: int
    looks: tuple[int, ...]
    budget_s: float | None
    measured: tuple[MeasuredLook, ...] = ()
    left: tuple[OpenCell, ...] = ()
    ending: Ending | None = None
    ended: str = ""
    boot_id: str = ""
    labs: int = 1


def describe_end(last: Sitting, boot_id: str) -> str:
    """How a sitting ended, and whether the host was rebooted since; ``boot_id`` is that of now."""
    rebooted = bool(last.boot_id and boot_id) and last.boot_id != boot_id
    match last.ending:
        case None if rebooted:
            return f"the host was rebooted in the middle of sitting {last.number}: what was measured is there"
        case None:
            return f"sitting {last.number} was killed"
        case Ending.INTERRUPTED:
            how = f"sitting {last.number} was interrupted"
        case Ending.BUDGET:
            how = f"sitting {last.number} has spent its budget"
        case Ending.COMPLETE:
            how = f"sitting {last.number} is complete"
    return f"{how}; the host was rebooted since" if rebooted else how


def write_sitting(out: Path, sitting: Sitting) -> None:
    """Store a sitting as it stands now; what was stored of it before is replaced."""
    write_json(_path(out, sitting.number), encode(sitting), replace=True)


def read_sittings(out: Path) -> tuple[Sitting, ...]:
    """All sittings in order; a guestloop without them has left none. Raises LabError for a damaged one."""
    numbers = sorted(int(path.stem) for path in (out / SITTINGS).glob("*.json") if path.stem.isdigit())
    return tuple(read_json(_path(out, number), lambda data: decode(Sitting, data)) for number in numbers)


def with_all_looks(plan: Plan, sittings: Iterable[Sitting]) -> Plan:
    """The plan with the looks that later sittings were to keep beyond its own."""
    further = {look for one in sittings for look in one.looks if look > plan.looks[-1]}
    return replace(plan, looks=(*plan.looks, *sorted(further)))


def _path(out: Path, number: int) -> Path:
    return out / SITTINGS / f"{number}.json"
