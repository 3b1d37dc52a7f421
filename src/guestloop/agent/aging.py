"""Age the pages of an L2 in each way L1's kernel has, and tell what it makes of every single page."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guestloop.agent import damon, mglru, pages
from guestloop.agent.guests import Guests
from guestloop.agent.memory import find_ram, have_memory_cgroups, have_swap
from guestloop.agent.pages import PAGE, Run
from guestloop.agent.placement import moving, place
from guestloop.ground.errors import GuestError

MIB = 1 << 20
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
PIECE_PAGES = 64
PROOF_PAGES = 16  # compared with their stamps to prove the way from guest frame to host page


@dataclass(frozen=True)
class Region:
    """The pages of an L2's load, in the payload's order, as addresses in its QEMU.

    ``unit``: pages of 4 KiB that age as one; the first of each is looked at and stands for all.
    """

    pid: int
    runs: tuple[Run, ...]
    unit: int = 1

    @property
    def addresses(self) -> list[int]:
        return [run.start + i * PAGE for run in self.runs for i in range(run.pages)][:: self.unit]

    def read_pagemap(self) -> array[int]:
        """The pagemap entry of each unit."""
        return pages.read_pagemap(self.pid, self.runs)[:: self.unit]


class Aging:
    """Methods that L0 calls. ``name`` is always that of an L2 whose region was told by ``watch``.

    Answers about pages are texts with a letter for each page (each unit, see Region): ``1``, ``0``, or
    ``-`` for a page that was not in memory or moved.
    """

    def __init__(self, guests: Guests) -> None:
        self._guests = guests
        self._regions: dict[str, Region] = {}
        self._frames: dict[str, list[int]] = {}
        self._damon: list[int] = []

    def lacks(self, needs: list[str]) -> str:
        """What of swap, memcg, page-idle, mglru, damon and thp L1 lacks; empty: nothing."""
        checks: dict[str, tuple[Callable[[], bool], str]] = {
            "swap": (have_swap, "L1 has no swap space"),
            "memcg": (have_memory_cgroups, "L1's kernel has no memory cgroups (CONFIG_MEMCG)"),
            "page-idle": (pages.IDLE_BITMAP.exists, "L1's kernel has no CONFIG_IDLE_PAGE_TRACKING"),
            "mglru": (mglru.CONTROL.exists, "L1's kernel has no CONFIG_LRU_GEN (or no debugfs)"),
            "damon": (damon.ADMIN.exists, "L1's kernel has no CONFIG_DAMON_SYSFS"),
            "thp": (THP.exists, "L1's kernel has no CONFIG_TRANSPARENT_HUGEPAGE"),
        }
        return "; ".join(why for need in needs for have, why in [checks[need]] if not have())

    def huge_pages(self, on: bool) -> str:
        """Let QEMU have transparent huge pages, as it asks for, or not; gives what reads back."""
        THP.write_text("madvise" if on else "never")
        return THP.read_text().strip()

    def watch(self, name: str, ram_mib: int, frames: list[str], gva: int, unit: int = 1) -> dict[str, int]:
        """Learn where the region of an L2 is, from the payload's ``frames`` lines; see Region for ``unit``.

        Word 0 of a page is its own address in the guest (guest-images/l2): some pages are read through
        QEMU's memory and must say so, or GuestError is raised.
        """
        guest = self._guests.get(name)
        ram = find_ram(guest.process.pid, ram_mib * MIB)
        # QEMU aligns RAM to 2 MiB; a neighbour merged into the mapping comes before it.
        base = -(-ram.start // (2 * MIB)) * (2 * MIB)
        found = pages.parse_frames(frames)
        runs = tuple(Run(base + frame * PAGE, count) for frame, count in found)
        region = Region(guest.process.pid, runs, unit)
        prove_addresses(region, gva)
        self._regions[name] = region
        return {"pages": len(region.addresses), "runs": len(runs)}

    def move_vcpus(self, name: str, turn: int) -> list[int]:
        """Give each vCPU another CPU with each turn, where no TLB hides an access: see placement.place."""
        return place(self._guests.get(name).vcpu_threads(), turn)

    def mark(self, name: str) -> float:
        """page_idle: mark every page of the region idle; gives the seconds it took."""
        started = time.monotonic()
        self._frames[name] = self._folios(name)
        pages.mark_idle(self._frames[name])
        return time.monotonic() - started

    def idle(self, name: str) -> dict[str, Any]:
        """page_idle: which pages are still idle since ``mark``; a page that moved is unknown."""
        started = time.monotonic()
        marked, now = self._frames[name], self._folios(name)
        frames = [frame if frame == before else 0 for frame, before in zip(now, marked, strict=True)]
        idle = pages.read_idle(frames)
        return {"idle": idle, "seconds": time.monotonic() - started}

    def swapped(self, name: str) -> str:
        """Which pages of the region are in swap."""
        return pages.swapped(self._regions[name].read_pagemap())

    def flagged(self, name: str, flag: str) -> str:
        """Which pages have a flag of /proc/kpageflags: ``referenced`` or ``thp``."""
        bit = {"referenced": pages.KPF_REFERENCED, "thp": pages.KPF_THP}[flag]
        return pages.read_flags(self._host_frames(name), bit)

    def reclaim(self, name: str, wanted: int, most_calls: int) -> dict[str, Any]:
        """Have the cgroup give memory back until ``wanted`` pages of the region have gone to swap.

        In small pieces, because each call scans as much as it needs for its piece: one large call goes over
        the lists several times, and takes at the second look what it had found young at the first. Ends
        after ``most_calls`` in any case. Gives ``before`` and ``after``, which pages are in swap.
        """
        cgroup = self._guests.get(name).cgroup
        before = after = self.swapped(name)
        calls = 0
        while calls < most_calls and after.count(pages.YES) < before.count(pages.YES) + wanted:
            cgroup.reclaim(PIECE_PAGES * PAGE)
            after, calls = self.swapped(name), calls + 1
        return {"before": before, "after": after, "calls": calls}

    def mglru(self, on: bool) -> str:
        """Switch MGLRU; gives its ``enabled`` as read back."""
        return mglru.switch(on) if mglru.ENABLED.exists() else ""

    def generation(self, name: str) -> dict[str, Any]:
        """MGLRU: begin a new generation; pages by generation after it, and the seconds it took."""
        started = time.monotonic()
        anon = mglru.age(self._cgroup(name))
        return {
            "anon": {f"{number}": count for number, count in anon.items()},
            "seconds": time.monotonic() - started,
        }

    def evict(self, name: str) -> float:
        """MGLRU: page out all but the two youngest generations; gives the seconds it took."""
        started = time.monotonic()
        mglru.evict(self._cgroup(name))
        return time.monotonic() - started

    def damon_start(self, name: str, most: int, sample_us: int, aggregation_us: int) -> int:
        """DAMON: watch the first ``most`` pages of the region, each for itself; gives their number."""
        region = self._regions[name]
        self._damon = region.addresses[:most]
        damon.start(region.pid, self._damon, sample_us, aggregation_us)
        return len(self._damon)

    def damon_watch(self, name: str, aggregations: int, move_every_s: float) -> None:
        """DAMON: wait for the end of the aggregation that runs, so many times.

        The vCPUs move between CPUs meanwhile: see placement.place. Raises GuestError when DAMON is off.
        """
        with moving(self._guests.get(name).vcpu_threads(), move_every_s):
            for _ in range(aggregations):
                damon.finish_aggregation()

    def damon_seen(self) -> list[int]:
        """DAMON: accesses to each watched page in the aggregation that ended last (-1: not told)."""
        seen = damon.read()
        return [seen.get(address, -1) for address in self._damon]

    def damon_stop(self) -> None:
        """DAMON: stop."""
        damon.stop()

    def _cgroup(self, name: str) -> str:
        """The path of an L2's cgroup, as MGLRU calls it."""
        return f"/{self._guests.get(name).cgroup.name}"

    def _folios(self, name: str) -> list[int]:
        """Host frame that carries the idle flag of each page: of a huge page, its first (mm/page_idle.c)."""
        frames = self._host_frames(name)
        huge = pages.read_flags(frames, pages.KPF_THP)
        return [
            frame & ~(pages.HUGE - 1) if flag == pages.YES else frame
            for frame, flag in zip(frames, huge, strict=True)
        ]

    def _host_frames(self, name: str) -> list[int]:
        return [pages.frame_of(entry) for entry in self._regions[name].read_pagemap()]


def prove_addresses(region: Region, gva: int) -> None:
    """Raise GuestError unless pages of the region hold their own addresses."""
    addresses = region.addresses
    step = max(1, len(addresses) // PROOF_PAGES)
    with Path(f"/proc/{region.pid}/mem").open("rb", buffering=0) as memory:
        for number in range(0, len(addresses), step):
            page = number * region.unit
            memory.seek(addresses[number])
            seen, wanted = int.from_bytes(memory.read(8), "little"), gva + page * PAGE
            if seen != wanted:
                raise GuestError(
                    f"page {page} of the region is not at {addresses[number]:#x} of QEMU: its first word is "
                    f"{seen:#x}, wanted {wanted:#x}"
                )
