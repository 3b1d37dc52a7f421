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
        kernel.count(self.guest, "remote_tlb_flush_requests", script.uncounted)
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
        used = [page in self.touched or page in self.touching for page in here]
        if self.script.tests if test else self.script.ages:
            self.kernel.hit("kvm_test_age_hva" if test else "kvm_age_hva", len(here))
        if clear:
            self.touched.clear()
        wrong_idle, wrong_young = Every(self.script.false_idle), Every(self.script.false_young)
        return {
            page: not wrong_idle.turn() if young else wrong_young.turn()
            for page, young in zip(here, used, strict=True)
        }


@dataclass
class Every:
    """True for this share of the turns, evenly spread."""

    share: float
    turns: int = 0

    def turn(self) -> bool:
        self.turns += 1
        return int(self.turns * self.share) > int((self.turns - 1) * self.share)


def letters(count: int, unit: int, yes: set[int]) -> str:
    """A letter for each unit of the region, as the agent answers: is its first page among these?"""
    return "".join("1" if page in yes else "0" for page in range(0, count, unit))
