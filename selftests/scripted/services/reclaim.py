# SPDX-License-Identifier: GPL-2.0-or-later
"""Reclaim."""

from __future__ import annotations

from guestloop.agent.reclaim import PIECE_PAGES, Reclaim, Reset, Taken
from scripted.memory import letters
from scripted.stage import Stage


class ScriptedReclaim(Reclaim):
    """Takes the pages that it believes to be idle, in their order. Flushes for those that it finds young."""

    def __init__(self, stage: Stage) -> None:
        self._l1 = stage.l1

    def reset(self, name: str, most_calls: int) -> Reset:
        """All pages are young from stamping; no flush of this is in a scan."""
        self._l1.guest(name).pages.look(self._l1.units[name])
        needed = self._l1.script.reset_calls
        return Reset(min(most_calls, needed), needed <= most_calls)

    def take(self, name: str, wanted: int, most_calls: int) -> Taken:
        pages, unit = self._l1.guest(name).pages, self._l1.units[name]
        before, touched = letters(pages.count, unit, pages.swapped), set(pages.touched)
        young = pages.look(unit)
        self._l1.kernel.flush(name, "clear_flush_young", sum(young.values()))
        self._l1.kernel.hit("young", sum(young.values()))
        idle = [page for page, used in young.items() if not used]
        if self._l1.script.overshoots:
            pages.swap(touched & set(idle))
            idle = [page for page in idle if page not in touched]
        pages.swap(set(idle[: min(wanted, most_calls * PIECE_PAGES)]))
        return Taken(before, letters(pages.count, unit, pages.swapped), calls=1)
