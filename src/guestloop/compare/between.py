# SPDX-License-Identifier: GPL-2.0-or-later
"""Two configurations or releases in words: their cost for the same work, and which paths explain it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from guestloop.compare.candidate import CandidateVerdict
from guestloop.compare.comparison import Comparison
from guestloop.compare.differences import Difference, Realm
from guestloop.compare.kinds import Kind
from guestloop.ground.words import plural
from guestloop.results.plan import Plan, PlannedKernel

LISTED = 3


def describe_between(
    plan: Plan,
    candidate: PlannedKernel,
    kind: Kind,
    verdicts: Sequence[CandidateVerdict],
    differences: Sequence[Difference],
    *,
    examples: bool = True,
) -> list[str]:
    """Parts of an answer; none for a series, whose paths are judged one by one.

    Without ``examples`` it is what changed, and neither by cell nor why that may be.
    """
    if kind.judges_paths:
        return []
    if not examples:
        return [*_cost(verdicts, by_cell=False), *_paths(verdicts)]
    reference = plan.kernels.reference
    said = f"{candidate.release} against {reference.release} ({_what_differs(kind, differences)})"
    parts = [said, *_cost(verdicts), *_paths(verdicts)]
    return [*parts, "what made each difference is not separated"]


def _what_differs(kind: Kind, differences: Sequence[Difference]) -> str:
    counted = Counter(one.realm for one in differences)
    seen = [realm.describe(counted[realm]) for realm in Realm if counted[realm]]
    return f"{kind.words}; {', '.join(seen)} differ" if seen else kind.words


def _cost(verdicts: Sequence[CandidateVerdict], *, by_cell: bool = True) -> Iterator[str]:
    """All flushes for the same work: the geometric mean of the cells, and the cells that differ most."""
    totals = [one.total.judgement.ratio for one in verdicts if one.total]
    ratios = [ratio for ratio in totals if ratio]
    if ratios:
        mean = math.exp(math.fsum(map(math.log, ratios)) / len(ratios))
        spread = f" (x{min(ratios):.2f} to x{max(ratios):.2f} by cell)" if by_cell and len(ratios) > 1 else ""
        yield f"flushes for the same guest work x{mean:.2f}{spread}"


def _paths(verdicts: Sequence[CandidateVerdict]) -> Iterator[str]:
    """The paths that changed with certainty, each as in the cell where it changed most."""
    changed: dict[str, Comparison] = {}
    for one in (each for verdict in verdicts for each in verdict.paths):
        other = changed.get(one.name)
        if one.decides and one.judgement.certain and (other is None or _weight(one) > _weight(other)):
            changed[one.name] = one
    ranked = sorted(changed.values(), key=_weight, reverse=True)
    yield from (one.render() for one in ranked[:LISTED])
    if len(ranked) > LISTED:
        yield f"{plural(len(ranked) - LISTED, 'path')} more"


def _weight(one: Comparison) -> float:
    """How many requests the change stands for in a round."""
    before, after = one.judgement.rates
    reference = one.statement.reference
    return abs(after - before) * reference.exposure / len(reference.counts)
