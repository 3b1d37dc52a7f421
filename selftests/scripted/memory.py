# SPDX-License-Identifier: GPL-2.0-or-later
"""The pages of a scripted load: where they are, who touched them, and what L1 believes about that."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from scripted.kernel import Kernel
from scripted.script import Script


@cache
def share_pages(pages: int, part: int, parts: int, grain: int) -> frozenset[int]:
    """The pages of a share of the region, see guest-images/l2/README.md."""
    return frozenset(page for page in range(pages) if page // grain % parts == part)


@dataclass
class Pages:
    """The pages of a load's region. Page numbers are those of the payload."""

    guest: str
    kernel: Kernel
    script: Script
    count: int = 0
    swapped: set[int] = field(default_factory=set)
    touched: set[int] = field(default_factory=set)
    """Since L1 looked last."""
    touching: frozenset[int] = frozenset()
    """All the time, until the load is stopped."""

    def make(self, count: int) -> None:
        """The load is loaded: every page is stamped."""
        self.count, self.swapped, self.touched = count, set(), set(range(count))

    def touch(self, pages: frozenset[int]) -> None:
        """vCPUs go over these pages."""
        kernel, script = self.kernel, self.script
        if self.swapped & pages:
            kernel.vmstat["pswpin"] += len(self.swapped & pages)
            kernel.hit("kvm_async_pf_not_present", script.ready)
            kernel.hit("kvm_async_pf_ready", script.ready)
            kernel.flush(self.guest, "async_page_ready", script.ready_flushes)
        kernel.count(self.guest, "remote_tlb_flush_requests", script.uncounted - script.lost)
        kernel.reload_roots(script.root_loads)
        self.swapped -= pages
        self.touched |= pages

    def page_out(self) -> None:
        """All of it goes to swap, which splits the huge pages."""
        if self.script.splits:
            self.kernel.vmstat["thp_split_page"] += self.count // 512
        if self.script.swaps:
            self.swap(range(self.count))

    def swap(self, pages: range | set[int]) -> None:
        self.kernel.vmstat["pswpout"] += len(set(pages) - self.swapped)
        self.swapped |= set(pages)

    def look(self, unit: int = 1, *, clear: bool = True, test: bool = False) -> dict[int, bool]:
        """L1 asks for each page (of ``unit``, the first) that is in memory whether it was used.

        What it then believes, right or wrong.
        """
        here = [page for page in range(0, self.count, unit) if page not in self.swapped]
        if self.script.tests if test else self.script.ages:
            self.kernel.hit("kvm_test_age_hva" if test else "kvm_age_hva", len(here))
        used = self.touched | self.touching
        young, idle = [page for page in here if page in used], [page for page in here if page not in used]
        believed = set(young) - some(young, self.script.false_idle) | some(idle, self.script.false_young)
        if clear:
            self.touched.clear()
        return {page: page in believed for page in here}


def some(pages: list[int], share: float) -> set[int]:
    """This share of the pages, evenly spread."""
    if not share:
        return set()
    return {page for at, page in enumerate(pages) if int((at + 1) * share) > int(at * share)}


def letters(count: int, unit: int, yes: set[int]) -> str:
    """A letter for each unit of the region, as the agent answers: is its first page among these?"""
    row = bytearray(b"0" * count)
    for page in yes:
        row[page] = ord("1")
    return row[::unit].decode("ascii")
