"""Async page faults: vCPUs read pages that L1 has paged out, so KVM faults them in beside the guest.

When a page has come back, ``kvm_arch_async_page_ready()`` (arch/x86/kvm/x86.c) maps it ahead of the
guest's next access. With two vCPUs waiting for the same page it does so twice, and the second time it
overwrites an SPTE that is already there: the one place where the patch under test shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum

from guestloop.ground.errors import GuestloopError
from guestloop.ground.wait import Deadline
from guestloop.lab.client import L1, L2
from guestloop.vm.argv import L2Spec
from guestloop.workloads.measuring import SWAPPED_IN, Lacking, Measuring
from guestloop.workloads.memory import check_contents, dirty_round

EVENT = "page_ready"
JUDGED = ("async_page_ready",)
# Flushes for pages that reclaim found young while the storm's pages were driven out: as many as it had to
# look at, which has nothing to do with the events. Cells of aging judge this path.
INCIDENTAL = ("clear_flush_young",)
LEAST_EVENTS = 500
PAGE_OUT_S, START_S, LAP_S, LONGEST_LAP_S = 20.0, 60.0, 12.0, 72.0
STALL_S = 4.0  # the payload tells its progress each second
# Reads of L1's swap disk per second: a page takes some milliseconds to come, whatever L0's disk is.
THROTTLED_READS = 250


class Load(StrEnum):
    """What the vCPUs do; the payload in L2 knows them by these names."""

    READ_SHARED = "read-shared"
    READ_OWN = "read-own"
    WRITE_SHARED = "write-shared"


class Way(StrEnum):
    """How pages go out and come back."""

    PAGEOUT = "pageout"
    PRESSURE = "pressure"
    THROTTLED = "throttled"
    THP = "thp"
    DIRTY_LOG = "dirty-log"

    @property
    def meaning(self) -> str:
        return {
            Way.PAGEOUT: "MADV_PAGEOUT on small pages",
            Way.PRESSURE: "L1 reclaims from the guest's memory cgroup",
            Way.THROTTLED: "L0 throttles the reads of L1's swap disk",
            Way.THP: "L2's RAM is huge pages in L1 at first, which the page-out splits",
            Way.DIRTY_LOG: "dirty rounds complete during the storm, as in a migration",
        }[self]


AXES: Mapping[str, tuple[str, ...]] = {
    "load": tuple(Load),
    "way": tuple(Way),
    "vcpus": ("4", "2"),
    "kvmapf": ("on", "off"),
}


@dataclass(frozen=True)
class Storm:
    """How hard. Each cycle pages L2's RAM out while its vCPUs rest, and then has each of them go once
    over ``mib`` MiB; ``ram_mib`` is the guest's RAM. In a shared load no vCPU gets more than ``window``
    pages ahead.

    More vCPUs than L1 has CPUs make it likely that one of them has touched a page before the last ready
    event for it is handled, which is the case of interest (docs/method-asyncpf.md). ``kvmapf``: the guest
    uses the paravirtual interface; without it KVM halts the vCPU until the page is there.
    """

    load: Load = Load.READ_SHARED
    way: Way = Way.PAGEOUT
    vcpus: int = 4
    kvmapf: bool = True
    mib: int = 4
    ram_mib: int = 96
    window: int = 16
    cycles: int = 2

    def guest(self, name: str) -> L2Spec:
        """The L2 that this storm needs."""
        return L2Spec(name, memory_mib=self.ram_mib, vcpus=self.vcpus, kvmapf=self.kvmapf)


def storm_of(variant: Mapping[str, str]) -> Storm:
    """The figures of a cell."""
    return Storm(
        load=Load(variant["load"]),
        way=Way(variant["way"]),
        vcpus=int(variant["vcpus"]),
        kvmapf=variant["kvmapf"] == "on",
    )


@contextmanager
def prepared(l1: L1, storm: Storm) -> Iterator[None]:
    """L1 as the storm needs it, and back again after it. Raises Lacking when it lacks something."""
    huge = storm.way is Way.THP
    if lacks := l1.call("aging.lacks", needs=["memcg", "swap", *(["thp"] if huge else [])]):
        raise Lacking(lacks)
    l1.call("aging.huge_pages", on=huge)
    throttled = storm.way is Way.THROTTLED
    if throttled:
        l1.throttle_swap(THROTTLED_READS)
    try:
        yield
    finally:
        if throttled:
            with suppress(GuestloopError):  # an L1 that is gone needs no swap disk
                l1.throttle_swap(0)


@dataclass
class Tally:
    """What the load said at the end of its laps, summed, and dirty rounds that completed meanwhile."""

    reads: int = 0
    bad: int = 0
    dirty_rounds: int = 0
    stuck: list[str] = field(default_factory=list)

    def add(self, stopped: Mapping[str, str]) -> None:
        self.reads += int(stopped["reads"])
        self.bad += int(stopped["bad"])


def run(this: Measuring, l2: L2, storm: Storm) -> None:
    """Stamp, storm, check: fills in the round."""
    this.event, this.judged, this.incidental = EVENT, JUDGED, INCIDENTAL
    this.facts |= {"l2.kvmapf": l2.hello.get("kvmapf", "?"), "l2.start_s": f"{l2.start_seconds:.1f}"}
    if this.facts["l2.kvmapf"] != f"{int(storm.kvmapf)}":
        this.invalidate(f"paravirtual async page faults: {l2.hello.get('kvmapf')} in L2, not as asked for")
    options = f"mib={storm.mib} window={storm.window} seed={this.number} thp={int(storm.way is Way.THP)}"
    l2.command(f"load name={storm.load} {options}", until="ready")
    tally = Tally()
    with this.counting(l2, "storm"):
        for _ in range(storm.cycles):
            _page_out(l2, storm)
            _lap(l2, storm, tally)
            if tally.stuck:
                break
    if tally.stuck:
        this.judge(False, tally.stuck[0])
        return
    _prove(this, storm, tally)
    this.judge(tally.bad == 0, f"{tally.bad} reads during the storm saw wrong data")
    check_contents(this, l2)


def _page_out(l2: L2, storm: Storm) -> None:
    pressure = storm.way is Way.PRESSURE
    l2.call("page_out", ram_mib=storm.ram_mib, timeout_s=PAGE_OUT_S, pressure=pressure)


def _lap(l2: L2, storm: Storm, tally: Tally) -> None:
    """Each vCPU goes once over its pages. Who does not come to the end is found by a deadline."""
    if silence := _begin(l2):
        tally.stuck.append(silence)
        return
    if storm.way is Way.DIRTY_LOG:
        tally.dirty_rounds += _dirty_rounds(l2)
    deadline = Deadline(LONGEST_LAP_S)
    while True:
        try:
            tally.add(l2.listen_for("stopped", LAP_S))
        except GuestloopError as error:
            if not _is_silence(error) or deadline.passed:
                raise
            stall = find_stall(lambda: l2.listen_for("progress", STALL_S))
            if not stall:
                continue  # slow, but it goes on: not a fault of the kernel
            tally.stuck.append(stall)
        return


def _is_silence(error: GuestloopError) -> bool:
    """The agent gave up waiting for the payload (agent/guests.py: Guest); anything else broke."""
    return "waited" in str(error)


def _begin(l2: L2) -> str:
    """Start a lap; why it does not start, when the guest that was just paged out does not answer any more."""
    try:
        l2.command("start laps=1", until="running", timeout_s=START_S)
    except GuestloopError as error:
        if not _is_silence(error):
            raise
        return f"L2 does not answer in {START_S:g} s: it waits for a page that never became ready"
    return ""


def _dirty_rounds(l2: L2) -> int:
    """Rounds of the dirty log while the lap goes on; two, each of a second."""
    return sum(dirty_round(l2) for _ in range(2))


def find_stall(next_progress: Callable[[], Mapping[str, str]]) -> str:
    """Why a load that missed its deadline stands still; empty when it is only slow.

    ``next_progress`` gives what the payload says next about its progress, and raises when it is silent.
    """
    try:
        seen = [int(next_progress()["reads"]) for _ in range(3)]
    except GuestloopError as error:
        if not _is_silence(error):
            raise
        return f"L2 says nothing more in {LAP_S:g} s: it waits for a page that never became ready"
    if seen[0] < seen[-1]:
        return ""
    return (
        f"vCPUs stand still after {seen[-1]} visits, {LAP_S:g} s: they wait for pages that never became ready"
    )


def _prove(this: Measuring, storm: Storm, tally: Tally) -> None:
    this.events["reads"] = tally.reads
    this.require(EVENT, LEAST_EVENTS)
    this.require(SWAPPED_IN, LEAST_EVENTS)
    this.require("reads", LEAST_EVENTS)
    if storm.way is Way.THP:
        this.require("huge_pages_split", storm.mib // 2)
    if storm.way is Way.DIRTY_LOG:
        this.events["dirty_rounds"] = tally.dirty_rounds
        this.require("dirty_rounds", storm.cycles)
