# SPDX-License-Identifier: GPL-2.0-or-later
"""The statements of a run: everything that is compared in a cell, with its samples and what would count.

Paths by what drives them; the cost as a whole by the work of the guest: all flush requests, page faults and
exits; the shares of pages that the kernel took for idle or young by mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from guestloop.compare.drivers import Exposure, cost_of, count_of, exposure_of, is_paged_alike, work_of
from guestloop.counters import FLUSH_REQUESTS, is_of_the_mmu
from guestloop.results.records import Round
from guestloop.stats.judge import Bounds
from guestloop.stats.samples import Sample


class Subject(StrEnum):
    """What a statement is about."""

    PATH = "path"
    REQUEST = "request"
    TOTAL = "total"
    COST = "cost"
    SHARE = "share"


class Weight(StrEnum):
    """How much a statement matters in its cell."""

    JUDGED = "judged"  # the workload is about it
    OTHER = "other"
    SHOWN = "shown"  # it is chance here, and decides nothing


@dataclass(frozen=True)
class Margins:
    """How large a change has to be, relative to the rate, and to all flushes of the cell.

    Below ``floor`` nobody would act, and a rate that grew by less than ``margin`` is the same. In each case
    the larger of both parts counts.
    """

    floor: float
    margin: float
    floor_of_total: float = 0.01
    margin_of_total: float = 0.02

    def bounds(self, rate: float, total: float, least: float) -> Bounds:
        """Of a rate of the reference, where its cell has ``total`` flushes in the same unit.

        An increase below ``least`` is none that is to be excluded.
        """
        return Bounds(
            floor=max(self.floor * rate, self.floor_of_total * total),
            margin=max(self.margin * rate, self.margin_of_total * total, least),
        )


MARGINS = {
    Weight.JUDGED: Margins(floor=0.05, margin=0.25),
    Weight.OTHER: Margins(floor=0.15, margin=0.5, margin_of_total=0.05),
    Weight.SHOWN: Margins(floor=0.15, margin=0.5, margin_of_total=0.05),
}
TOTAL_MARGINS = Margins(floor=0.15, margin=0.5)
COST_MARGINS = Margins(floor=0.25, margin=1.0)
"""Of faults and exits, which the guest's own pace moves as well."""

LEAST_REQUESTS = 20
"""An increase by fewer requests in a round is none that is to be excluded; one that is certain counts."""

SHARES = Bounds(floor=0.03, margin=0.05)
"""Of the pages that were touched, or not touched: both are shares of 1. In one of 120 rounds of good kernels
2.3 % of the touched pages were taken for idle, and in the others of that cell none."""

TOTAL = "all flush requests"
COSTS = {"page faults": "pf_taken", "exits": "exits", "flushes by vCPUs themselves": "tlb_flush"}
"""Counters of KVM, summed over vCPUs, that a request for a flush can be traded for."""
LOADS = {"root loads": "root_loads"}
"""Events that it can be traded for."""


@dataclass(frozen=True)
class Statement:
    """A comparison before it is judged: what was counted on both kernels, per ``unit``."""

    name: str
    subject: Subject
    weight: Weight
    unit: str
    reference: Sample
    tested: Sample
    bounds: Bounds

    @property
    def key(self) -> str:
        """By which its scatter is known: the same counts per another unit scatter otherwise."""
        return scatter_key(self.name, self.unit)


def scatter_key(name: str, unit: str) -> str:
    """The key of a statement of this name, counted per ``unit``."""
    return f"{name} per {unit}"


def statements_of(reference: Sequence[Round], tested: Sequence[Round]) -> tuple[Statement, ...]:
    """All statements about a cell from the measured rounds of both kernels.

    The weightiest come first, and paths before what they add up to.
    """
    work = work_of(reference, tested)
    found = [
        *_paths(reference, tested, work),
        *_requests(reference, tested, work),
        *_costs(reference, tested, work),
        *_shares(reference, tested),
    ]
    order = list(Weight)

    def rank(one: Statement) -> tuple[int, bool, int]:
        return order.index(one.weight), one.subject is not Subject.PATH, -one.reference.total

    return tuple(sorted(found, key=rank))


def _paths(reference: Sequence[Round], tested: Sequence[Round], work: Exposure) -> Iterator[Statement]:
    every = [*reference, *tested]
    judged = {path for item in every for path in item.judged}
    incidental = {path for item in every for path in item.incidental}
    for path in sorted(judged | {path for item in every for path in item.paths}):
        other = Weight.SHOWN if path in incidental else Weight.OTHER
        weight = Weight.JUDGED if path in judged else other
        exposure = exposure_of(path, reference, tested, work)
        yield _statement(path, Subject.PATH, weight, _of_path(path), (reference, tested), exposure)


def _requests(reference: Sequence[Round], tested: Sequence[Round], work: Exposure) -> Iterator[Statement]:
    """Requests to all vCPUs other than the flush, each by request and path, where any round has one."""
    every = (*reference, *tested)
    for name in sorted({name for item in every for name in item.requests}):
        count = _of_request(name)
        weight = Weight.OTHER if is_of_the_mmu(name.partition("/")[0]) else Weight.SHOWN
        yield _statement(name, Subject.REQUEST, weight, count, (reference, tested), work)


def _costs(reference: Sequence[Round], tested: Sequence[Round], work: Exposure) -> Iterator[Statement]:
    rounds = (reference, tested)
    yield _statement(TOTAL, Subject.TOTAL, Weight.JUDGED, count_all, rounds, work)
    work = cost_of(reference, tested, work)
    weight = Weight.OTHER if is_paged_alike(reference, tested, work) else Weight.SHOWN
    for name, counter in COSTS.items():
        if all(counter in item.counters for item in (*reference, *tested)):
            yield _statement(name, Subject.COST, weight, _of_counter(counter), rounds, work)
    for name, event in LOADS.items():
        if all(event in item.events for item in (*reference, *tested)):
            yield _statement(name, Subject.COST, weight, _of_event(event), rounds, work)


def _shares(reference: Sequence[Round], tested: Sequence[Round]) -> Iterator[Statement]:
    for name, part, whole in (
        ("false idle", "false_idle", "touched"),
        ("false young", "false_young", "untouched"),
    ):
        every = (*reference, *tested)
        if all(part in item.events and item.events.get(whole, 0) > 0 for item in every):
            before, after = (
                Sample(
                    tuple(item.events[part] for item in rounds),
                    tuple(float(item.events[whole]) for item in rounds),
                )
                for rounds in (reference, tested)
            )
            yield Statement(name, Subject.SHARE, Weight.OTHER, f"{whole} page", before, after, SHARES)


def _statement(
    name: str,
    subject: Subject,
    weight: Weight,
    count: Callable[[Round], int],
    rounds: tuple[Sequence[Round], Sequence[Round]],
    exposure: Exposure,
) -> Statement:
    before = Sample(tuple(map(count, rounds[0])), exposure.reference)
    after = Sample(tuple(map(count, rounds[1])), exposure.tested)
    # Flushes of the whole cell, in the unit of this rate. Of a cost that is no flush it is the cost itself.
    whole = sum(map(count_all, rounds[0])) if subject is not Subject.COST else before.total
    total = whole / before.exposure
    least = LEAST_REQUESTS * len(rounds[0]) / before.exposure
    margins = {Subject.COST: COST_MARGINS, Subject.TOTAL: TOTAL_MARGINS}.get(subject, MARGINS[weight])
    bounds = margins.bounds(before.rate, total, least)
    return Statement(name, subject, weight, exposure.unit, before, after, bounds)


def count_all(item: Round) -> int:
    """All flush requests of a round, but for those of what the test itself does to set the scene."""
    return item.counters[FLUSH_REQUESTS] - sum(item.paths.get(path, 0) for path in item.incidental)


def _of_path(path: str) -> Callable[[Round], int]:
    return lambda item: item.paths.get(path, 0)


def _of_request(name: str) -> Callable[[Round], int]:
    return lambda item: item.requests.get(name, 0)


def _of_event(event: str) -> Callable[[Round], int]:
    return lambda item: item.events[event]


def _of_counter(counter: str) -> Callable[[Round], int]:
    return lambda item: count_of(counter, item)
