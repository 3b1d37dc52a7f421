"""The agent of a scripted L1: the real services where they can be, others of the same signatures."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guestloop.agent import pages as agent_pages
from guestloop.agent.damon import Damon
from guestloop.agent.guests import Guests, Roster
from guestloop.agent.kvm import Kvm
from guestloop.agent.memory import Memory, Need, PageOut
from guestloop.agent.mglru import Mglru
from guestloop.agent.migration import Migration
from guestloop.agent.page_idle import PageIdle
from guestloop.agent.pages import Flag
from guestloop.agent.ram import Compared
from guestloop.agent.reclaim import PIECE_PAGES, Reclaim, Taken
from guestloop.agent.regions import Atlas, Regions, Watched
from guestloop.agent.services import Agent
from guestloop.agent.system import Hello, System
from guestloop.agent.trace import Trace, Tracing
from guestloop.ground.errors import GuestError
from guestloop.ground.units import MIB, PAGE
from scripted.kernel import ScriptedTrace
from scripted.memory import letters
from scripted.payload import GVA

if TYPE_CHECKING:
    from scripted.machine import ScriptedL1

BUILD_ID = "abcd"


class ScriptedSystem(System):
    def __init__(self, l1: ScriptedL1) -> None:
        self._l1 = l1

    def hello(self) -> Hello:
        return Hello("6.12.117", BUILD_ID, "boot-id", 2, 4.5)

    def set_pace(self, pace: float) -> None:
        """The pace is that of this process, which others share."""

    def rearm_warnings(self) -> bool:
        return True

    def write_console(self, text: str) -> None:
        self._l1.print(text)


class ScriptedKvm(Kvm):
    def load(self, mmu: str, parameters: dict[str, dict[str, str]], request: int) -> dict[str, str]:
        facts = {f"{module}.build_id": "ef01" for module in parameters}
        for module, values in parameters.items():
            facts |= {f"{module}.{key}": value for key, value in values.items()}
        return facts

    def unload(self) -> None:
        """No module is loaded."""


class ScriptedMemory(Memory):
    def __init__(self, l1: ScriptedL1) -> None:
        self._l1 = l1

    def swap_on(self, serial: str) -> int:
        return 1 << 20

    def read_vmstat(self) -> dict[str, int]:
        return dict(self._l1.kernel.vmstat)

    def lacks(self, needs: list[Need]) -> str:
        return "; ".join(self._l1.script.lacks[need] for need in needs if need in self._l1.script.lacks)

    def huge_pages(self, on: bool) -> str:
        self._l1.huge_pages = on
        return "always [madvise] never" if on else "always madvise [never]"


class ScriptedGuests(Guests):
    """The real service, but for what is done to the memory of a real process."""

    def __init__(self, l1: ScriptedL1, roster: Roster, directory: Path) -> None:
        super().__init__(roster, directory)
        self._l1 = l1

    def page_out(self, name: str, ram_mib: int, timeout_s: float, pressure: bool = False) -> PageOut:
        self._l1.guest(name).pages.page_out()
        return PageOut(left_bytes=0, seconds=0.1)


class ScriptedRegions(Regions):
    def __init__(self, l1: ScriptedL1, roster: Roster) -> None:
        super().__init__(roster, Atlas())
        self._l1 = l1

    def watch(self, name: str, ram_mib: int, frames: list[str], gva: int, unit: int = 1) -> Watched:
        runs = agent_pages.parse_frames(frames)
        count = self._l1.guest(name).pages.count
        if sum(pages for _, pages in runs) != count or gva != GVA or ram_mib * MIB <= count * PAGE:
            raise GuestError(f"the region of L2 {name!r} is not where it is said to be")
        self._l1.units[name] = unit
        return Watched(count // unit, len(runs))

    def move_vcpus(self, name: str, turn: int) -> list[int]:
        return [(vcpu + turn) % 2 for vcpu, _ in enumerate(self._l1.guest(name).vcpu_threads())]

    def swapped(self, name: str) -> str:
        pages = self._l1.guest(name).pages
        return letters(pages.count, self._l1.units[name], pages.swapped)

    def flagged(self, name: str, flag: Flag) -> str:
        pages = self._l1.guest(name).pages.count // self._l1.units[name]
        there = int(pages * self._l1.script.huge_pages) if self._l1.huge_pages and flag is Flag.THP else 0
        return "1" * there + "0" * (pages - there)


class ScriptedReclaim(Reclaim):
    """Takes the pages that it believes to be idle, in their order. Flushes for those that it finds young."""

    def __init__(self, l1: ScriptedL1) -> None:
        self._l1 = l1

    def take(self, name: str, wanted: int, most_calls: int) -> Taken:
        pages, unit = self._l1.guest(name).pages, self._l1.units[name]
        before, touched = letters(pages.count, unit, pages.swapped), set(pages.touched)
        young = pages.look(unit)
        self._l1.kernel.flush(name, "clear_flush_young", sum(young.values()))
        idle = [page for page, used in young.items() if not used]
        if self._l1.script.overshoots:
            pages.swap(touched & set(idle))
            idle = [page for page in idle if page not in touched]
        pages.swap(set(idle[: min(wanted, most_calls * PIECE_PAGES)]))
        return Taken(before, letters(pages.count, unit, pages.swapped), calls=1)


class ScriptedPageIdle(PageIdle):
    def __init__(self, l1: ScriptedL1) -> None:
        self._l1 = l1

    def lacks(self) -> str:
        return self._l1.script.lacks.get("page_idle", "")

    def mark(self, name: str) -> None:
        self._l1.guest(name).pages.look(self._l1.units[name])

    def idle(self, name: str) -> str:
        pages, unit = self._l1.guest(name).pages, self._l1.units[name]
        return letters(pages.count, unit, {page for page, used in pages.look(unit).items() if not used})


class ScriptedMglru(Mglru):
    def __init__(self, l1: ScriptedL1) -> None:
        self._l1 = l1
        self._old: set[int] = set()

    def lacks(self) -> str:
        return self._l1.script.lacks.get("mglru", "")

    def switch(self, on: bool) -> str:
        return self._l1.script.mglru if on else "0x0000"

    def age(self, name: str) -> dict[int, int]:
        young = self._l1.guest(name).pages.look()
        self._old = {page for page, used in young.items() if not used}
        return {1: len(self._old), 2: len(young) - len(self._old)}

    def evict(self, name: str) -> None:
        self._l1.guest(name).pages.swap(self._old)


class ScriptedDamon(Damon):
    """Each watched page that is touched is seen in every sample."""

    def __init__(self, l1: ScriptedL1) -> None:
        self._l1 = l1
        self._most = self._samples = 0
        self._seen: list[int] = []

    def lacks(self) -> str:
        return self._l1.script.lacks.get("damon", "")

    def start(self, name: str, most: int, sample_us: int, aggregation_us: int) -> int:
        self._most, self._samples = most, aggregation_us // sample_us
        return min(most, self._l1.guest(name).pages.count // self._l1.units[name])

    def watch(self, name: str, aggregations: int, move_every_s: float) -> None:
        pages, unit = self._l1.guest(name).pages, self._l1.units[name]
        for _ in range(aggregations):
            for _ in range(self._samples):
                pages.look(unit, clear=False)
                young = pages.look(unit, clear=False, test=True)
            pages.touched.clear()
        self._seen = [self._samples * used for used in young.values()][: self._most]

    def seen(self) -> list[int]:
        return self._seen

    def stop(self) -> None:
        self._most = 0


class ScriptedMigration(Migration):
    """The real service, but for what is done to real processes and files."""

    def __init__(self, l1: ScriptedL1, roster: Roster, trace: Trace) -> None:
        super().__init__(roster, trace)
        self._l1 = l1

    def prepare(
        self, source: str, destination: str, capabilities: Sequence[str], parameters: dict[str, Any]
    ) -> None:
        super().prepare(source, destination, capabilities, parameters)
        self._l1.moving = source, destination

    def compare(self) -> Compared:
        source, _ = self._l1.moving
        lost = self._l1.script.lost_pages
        contents = [(b64encode(here).decode(), b64encode(there).decode()) for here, there in lost.values()]
        pages = self._l1.script.compared or self._l1.guest(source).ram_mib * MIB // PAGE
        return Compared(pages, list(lost), contents)

    def pin(self, name: str) -> None:
        self._l1.guest(name)

    def huge_pages(self, pages: int) -> int:
        return min(pages, self._l1.script.pool)

    def connections(self) -> int:
        return self._l1.script.connections

    def small_tmpfs(self, path: str, mib: int) -> None:
        """There is no file that could be put there."""


def make_agent(l1: ScriptedL1, directory: Path) -> Agent:
    """As agent/services.py: make_agent."""
    trace, roster = ScriptedTrace(l1.kernel), l1.roster
    return Agent(
        system=ScriptedSystem(l1),
        kvm=ScriptedKvm(directory, trace),
        memory=ScriptedMemory(l1),
        trace=Tracing(trace),
        guests=ScriptedGuests(l1, roster, directory / "l2"),
        regions=ScriptedRegions(l1, roster),
        reclaim=ScriptedReclaim(l1),
        page_idle=ScriptedPageIdle(l1),
        mglru=ScriptedMglru(l1),
        damon=ScriptedDamon(l1),
        migration=ScriptedMigration(l1, roster, trace),
    )
