# SPDX-License-Identifier: GPL-2.0-or-later
"""A migration: by which way, and in which figures."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from guestloop.agent.memory import Need
from guestloop.results.records import Work
from guestloop.vm.argv import Backing, Incoming, L2Spec
from guestloop.workloads.measuring import Measuring
from guestloop.workloads.migration.hop import LOG_EVENT, PAGE_EVENT, RING_EVENT, Hop

if TYPE_CHECKING:
    from guestloop.lab.client import L2


class Load(StrEnum):
    """What the vCPUs do; the payload in L2 knows them by these names."""

    SWEEP = "sweep"
    HOT = "hot"
    ONCE = "once"
    CHAIN = "chain"
    MIX = "mix"
    LINGER = "linger"

    @property
    def pinned(self) -> bool:
        """Does the first vCPU need a CPU of L1 for itself?"""
        return self is Load.LINGER


class Pages(StrEnum):
    """What backs the guest's RAM."""

    SMALL = "4k"
    HUGE = "2m"


class Way(ABC):
    """How a guest is migrated. One object each, without a state of its own.

    ``needs`` are of L1's kernel, ``capabilities`` are QEMU's beside ``events``. ``hops``: how often the guest
    moves on. ``work``: what flushes are related to. ``ring``: dirty pages are reported by the dirty ring.
    ``incoming``: what a destination does when all has arrived.
    One that is not ``is_everywhere`` is in a profile only where it is named: some hosts lack what it needs.
    """

    name: str
    needs: Sequence[Need] = ()
    capabilities: Sequence[str] = ("pause-before-switchover",)
    hops: int = 1
    work: Work = Work.DIRTIED
    ring: bool = False
    incoming: Incoming = Incoming.REST
    is_everywhere: bool = True

    def fit(self, trip: Trip) -> Trip:
        """The figures of a cell, as this way needs them."""
        return trip

    def move(self, hop: Hop, trip: Trip, destination: L2Spec, stack: ExitStack) -> L2:
        """One hop; returns the guest where it now runs, which ends with ``stack``."""
        there = stack.enter_context(hop.l1.guest(destination))
        self.send(hop, trip, there)
        return there

    def send(self, hop: Hop, trip: Trip, destination: L2) -> None:
        """Dirty rounds while the load runs, then the switch-over."""
        self.hold(hop, trip, destination)
        hop.release()
        hop.switch_over()

    def hold(self, hop: Hop, trip: Trip, destination: L2) -> None:
        """Begin, and let the load keep the migration going for the rounds that the cell wants."""
        if trip.load.pinned:
            hop.pin()
        hop.prepare(destination, *self.capabilities)
        hop.dirty_rounds(trip.round_s, trip.held_rounds, may_end=not trip.round_s)

    def prove(self, this: Measuring, trip: Trip) -> None:
        """The round is invalid unless the migration was of this way."""
        this.require("pages_compared", trip.hops * trip.ram_mib * 256)


@dataclass(frozen=True)
class Trip:
    """A migration cell in figures. Sizes in MiB; ``pace_us`` is what a vCPU takes per page.

    ``ram_directory`` holds the RAM of the destinations (empty: L1's own tmpfs).
    Each dirty round but the first is made to take ``round_s`` (0: as fast as it goes). A paced load
    is over its pages about once in the time of a migration, so that a write that got lost is not soon
    written again. ``scale``: how many times larger it is than usual.
    """

    load: Load
    way: Way
    pages: Pages
    vcpus: int
    mib: int = 16
    round_s: float = 0.3
    ram_mib: int = 64
    pace_us: int = 0
    window: int = 256
    ring_entries: int = 1024
    held_rounds: int = 4
    ram_directory: str = ""
    scale: int = 1

    def scaled(self, scale: int) -> Trip:
        """The same with more memory, which takes as long to go over, and to send."""
        return replace(
            self,
            mib=self.mib * scale,
            ram_mib=self.ram_mib * scale,
            pace_us=self.pace_us // scale,
            scale=scale,
        )

    @property
    def hops(self) -> int:
        """How often the guest is migrated."""
        return self.way.hops

    @property
    def event(self) -> str:
        """What flushes are counted per."""
        if self.way.ring:
            return RING_EVENT
        return LOG_EVENT if self.round_s else PAGE_EVENT

    @property
    def work(self) -> Work:
        """What flushes are related to. How often a lingering vCPU writes is no cause of any."""
        return Work.MIGRATED if self.load is Load.LINGER else self.way.work

    @property
    def needs(self) -> list[Need]:
        """What it needs of L1's kernel beyond KVM."""
        return [*self.way.needs, *([Need.HUGETLB] if self.pages is Pages.HUGE else [])]

    def guest(self, name: str, incoming: Incoming = Incoming.NO) -> L2Spec:
        """The L2 at one end of a hop."""
        return L2Spec(
            name,
            memory_mib=self.ram_mib,
            vcpus=self.vcpus,
            backing=Backing.HUGE_FILE if self.pages is Pages.HUGE else Backing.FILE,
            incoming=incoming,
            dirty_ring=self.ring_entries if self.way.ring else 0,
            ram_directory="" if incoming is Incoming.NO else self.ram_directory,
        )
