# SPDX-License-Identifier: GPL-2.0-or-later
"""What changed from the reference to a candidate, and what did not: by path, over all cells, in few lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from guestloop.compare import Change, Subject
from guestloop.report.fitting import wrapped
from guestloop.report.plain import one_line
from guestloop.report.results import CandidateResult, CellResult, Figure
from guestloop.results.cells import Cell, Mmu

WIDTHS = (36, 8, 8, 7)
"""Of the columns; the last one takes the rest."""

ALIKE = 2.0
"""Changes that differ by no more than this factor are one."""

Judged = Sequence[tuple[CellResult, CandidateResult]]
"""The cells that one candidate is in, and what they say of it."""


@dataclass(frozen=True)
class Changed:
    """What changed on one path, per one unit and in one direction; by MMU mode, if it did not change alike.

    ``figure`` is that of the cell with the most requests, and ``cells`` are all in which it changed.
    """

    figure: Figure
    cells: tuple[Cell, ...]

    @classmethod
    def all_of(cls, judged: Judged) -> list[Changed]:
        """Changes for the worse first, then by how many cells show them."""
        found: dict[tuple[str, str, Change], list[tuple[Cell, Figure]]] = {}
        for cell, candidate in judged:
            for one in candidate.figures:
                if one.decides and one.change in (Change.FEWER, Change.MORE):
                    found.setdefault((one.name, one.unit, one.change), []).append((cell.cell, one))
        changed = [cls._of(alike) for seen in found.values() for alike in _alike(seen)]
        return sorted(changed, key=lambda one: (one.figure.change is Change.FEWER, -len(one.cells)))

    @classmethod
    def _of(cls, seen: Sequence[tuple[Cell, Figure]]) -> Changed:
        ordered = sorted(seen, key=lambda item: -max(item[1].totals))
        return cls(ordered[0][1], tuple(cell for cell, _ in ordered))

    def lines(self) -> tuple[str, ...]:
        """A row of figures, with the name on a line of its own if it is long."""
        one = self.figure
        before, after = (
            "absent" if lacks else one.render_rate(rate)
            for lacks, rate in zip(one.absent, one.rates, strict=True)
        )
        *above, name = wrapped(one_line(f"{one.name} / {one.unit}"), WIDTHS[0], " ", "   ")
        return (*above, row(name, before, after, _ratio(one), self.where))

    @property
    def where(self) -> str:
        """``3 direct,shadow``: how many cells, in which MMU modes."""
        modes = [str(mode) for mode in Mmu if any(cell.mmu is mode for cell in self.cells)]
        everywhere = all(str(mode) in modes for mode in Mmu if mode.is_everywhere)
        return f"{len(self.cells)} {'all' if everywhere else ','.join(modes)}"


def _alike(seen: Sequence[tuple[Cell, Figure]]) -> list[Sequence[tuple[Cell, Figure]]]:
    ratios = [one.ratio or 0.0 for _, one in seen]
    if max(ratios) <= ALIKE * min(ratios):
        return [seen]
    modes = dict.fromkeys(cell.mmu for cell, _ in seen)
    return [[item for item in seen if item[0].mmu is mode] for mode in modes]


def _ratio(one: Figure) -> str:
    """``x0.38``, ``<x0.01``, ``-`` where there is none."""
    if one.ratio is None or any(one.absent):
        return "-"
    return "<x0.01" if 0 < one.ratio < 0.005 else f"x{min(one.ratio, 999):.2f}"


def row(*texts: str) -> str:
    """A line of the table: a name, figures, and where."""
    name, *figures, where = texts
    padded = [f"{one:>{width}}" for one, width in zip(figures, WIDTHS[1:], strict=True)]
    return f"{name:<{WIDTHS[0]}}{''.join(padded)} {where}"


def unchanged(judged: Judged) -> list[str]:
    """``async_page_ready x1.4``: what no cell shows to have changed, paths first, the busiest first.

    The factor is the smallest increase that one of the cells would have shown.
    """
    figures = [one for _, candidate in judged for one in candidate.figures if one.decides]
    changed = {one.name for one in figures if one.change in (Change.FEWER, Change.MORE)}
    calm: dict[str, list[Figure]] = {}
    for one in figures:
        if one.name not in changed and any(one.totals):
            calm.setdefault(one.name, []).append(one)
    order = list(Subject)

    def rank(name: str) -> tuple[int, int]:
        return order.index(calm[name][0].subject), -sum(sum(one.totals) for one in calm[name])

    said = (_calm(name, calm[name]) for name in sorted(calm, key=rank))
    return list(filter(None, said))


def _calm(name: str, figures: Sequence[Figure]) -> str:
    """Empty for what no cell has settled."""
    same = [one for one in figures if one.change is Change.SAME]
    factors = [one.mde for one in same if one.mde is not None]
    open_ = f" (open in {len(figures) - len(same)})" if len(same) < len(figures) else ""
    return f"{name}{f' x{min(factors):.2g}' if factors else ''}{open_}" if same else ""
