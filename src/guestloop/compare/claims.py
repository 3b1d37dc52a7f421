# SPDX-License-Identifier: GPL-2.0-or-later
"""What the comparisons of a cell come to, where both kernels are right: a status, and why."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from guestloop.compare.comparison import Comparison
from guestloop.compare.kinds import Kind
from guestloop.compare.statements import Subject, Weight
from guestloop.compare.statuses import Claim, Status
from guestloop.counters import PROTECTING
from guestloop.ground.words import listed
from guestloop.results.plan import Reach
from guestloop.results.provenance import Expectation, Trend
from guestloop.results.reach import NeverRan, Ran, Unproven
from guestloop.stats.judge import Change

Evidence = Ran | NeverRan | Unproven
"""What is known of the functions whose machine code differs (results/reach.py)."""

LISTED = 3
"""Of statements that are alike this many are spelled out in a reason."""


@dataclass(frozen=True)
class Claims:
    """What may be said of one candidate in one cell.

    ``expected`` is what its series declares, ``reach`` where it says that it can act, and ``covered`` whether
    this cell is there. ``evidence`` is what was seen of the functions that differ, if that was looked at.
    ``correctness_only`` is that of the plan.
    """

    kind: Kind
    comparisons: Sequence[Comparison]
    expected: Collection[Expectation]
    reach: Reach
    covered: bool
    correctness_only: bool = False
    evidence: Evidence | None = None

    def decisive(self) -> Comparison | None:
        """The comparison that the claim rests on; without a change the first judged one, or the first."""
        for found in (self._risen(), self._moved(), self._unexplained(), self._unsettled(), self._fewer()):
            if found:
                return found[0]
        judged = [one for one in self.comparisons if one.statement.weight is Weight.JUDGED]
        return next(iter([*judged, *self.comparisons]), None)

    def claim(self) -> Claim:
        """The worst that holds."""
        if self.kind is Kind.IDENTICAL:
            return self._of_identical()
        return self._change_for_the_worse() or self._not_settled() or self._change_for_the_better()

    def _change_for_the_worse(self) -> Claim | None:
        outside = "" if self.covered else _wrong_reach(self.reach)
        if risen := self._risen():
            return Status.MORE, _render(risen) + outside
        if moved := self._moved():
            return Status.MOVED, _render([*moved, *self._fewer()]) + outside
        if unexplained := self._unexplained():
            return Status.UNEXPLAINED, f"{_render(unexplained)}: {_unexplained_hint(unexplained)}{outside}"
        return None

    def _not_settled(self) -> Claim | None:
        found = self._unsettled()
        said = f"not settled: {listed([one.render_open() for one in found], LISTED)}"
        return (Status.INCONCLUSIVE, said) if found else None

    def _change_for_the_better(self) -> Claim:
        fewer = self._fewer()
        outside = "" if self.covered else _wrong_reach(self.reach)
        return (Status.FEWER, _render(fewer) + outside) if fewer else self._unchanged()

    def _of_identical(self) -> Claim:
        """Nothing is declared about how a kernel differs from itself, and no difference is believed."""
        if changed := [*self._risen(), *self._fewer()]:
            said = f"{_render(changed)}, between identical kernels: no difference can be claimed"
            return Status.INCONCLUSIVE, said
        return self._not_settled() or self._unchanged()

    def _unchanged(self) -> Claim:
        if isinstance(self.evidence, NeverRan):
            return Status.CANNOT_DIFFER, "no function that differs between the two kernels ran in this cell"
        if not self.covered:
            return Status.CANNOT_DIFFER, f"{self.reach.because}{_unless_seen(self.evidence)}"
        if open_ := self._open():
            said = listed([one.render() for one in open_], LISTED)
            return Status.SAME, f"no change is certain; no verdict on cost, not settled: {said}"
        decisive = self.decisive()
        return Status.SAME, decisive.render_excluded() if decisive else "nothing was counted here"

    @property
    def accepted(self) -> bool:
        """A status that would leave a series open is one that this candidate may have: ``moved``.

        Between configurations and releases anything moves; a series says so for each path that lost flushes.
        """
        lost = {one.name for one in self._fewer() if one.statement.subject is Subject.PATH}
        return not self.kind.judges_paths or lost <= self._declared

    @property
    def _declared(self) -> set[str]:
        return {one.path for one in self.expected if one.change is Trend.FEWER}

    def _risen(self) -> list[Comparison]:
        """What is more. Between configurations and releases only the cost for the same work is judged."""
        moved = self._moved()
        return [one for one in self._changed(Change.MORE) if self._is_judged(one) and one not in moved]

    def _fewer(self) -> list[Comparison]:
        """What is fewer: flushes, or pages taken for idle or young."""
        return [
            one
            for one in self._changed(Change.FEWER)
            if self._is_judged(one) and one.statement.subject is not Subject.COST
        ]

    def _moved(self) -> list[Comparison]:
        """What rose elsewhere: of a series requests of another kind, in place of flushes that are gone.

        Between configurations and releases any path or request that rose; the cost is judged as a whole.
        """
        risen = self._changed(Change.MORE)
        if not self.kind.judges_paths:
            return [one for one in risen if not self._is_judged(one)]
        return [one for one in risen if one.statement.subject is Subject.REQUEST and self._fewer()]

    def _unexplained(self) -> list[Comparison]:
        """Fewer flushes where a flush protects data, and the series does not say so."""
        if self.kind is not Kind.SERIES:
            return []
        return [
            one
            for one in self._changed(Change.FEWER)
            if one.statement.subject is Subject.PATH and one.name in PROTECTING - self._declared
        ]

    def _open(self) -> list[Comparison]:
        return [one for one in self.comparisons if one.is_open and self._is_judged(one)]

    def _unsettled(self) -> list[Comparison]:
        """What is open and keeps a cell from being settled, which it does not where cost is not judged."""
        return [] if self.correctness_only else self._open()

    def _changed(self, change: Change) -> list[Comparison]:
        return [one for one in self.comparisons if one.decides and one.change is change]

    def _is_judged(self, one: Comparison) -> bool:
        return self.kind.judges_paths or one.statement.subject not in (Subject.PATH, Subject.REQUEST)


def _unexplained_hint(found: Sequence[Comparison]) -> str:
    names = listed([one.name for one in found], LISTED)
    return f"a flush there protects data, and the series does not declare it (expect: {names}: fewer)"


def _unless_seen(evidence: Evidence | None) -> str:
    if isinstance(evidence, Ran):
        functions = sorted({name for hits in evidence.hits.values() for name in hits})
        return f" (so it is declared; of what differs, {listed(functions, LISTED)} ran)"
    return " (declared, not probed)"


def _wrong_reach(reach: Reach) -> str:
    return f"; the declared reach of the series is wrong: it says {reach.because!r}"


def _render(found: Sequence[Comparison]) -> str:
    return listed([one.render() for one in found], LISTED)
