# SPDX-License-Identifier: GPL-2.0-or-later
"""What an aging driver is: who ages the pages, in which scene, and what one scan of it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from guestloop.agent.memory import Need
from guestloop.ground.units import MIB, PAGE, PAGES_PER_HUGE_PAGE
from guestloop.results.records import Work
from guestloop.vm.argv import L2Spec
from guestloop.workloads.aging.beliefs import Belief, Share
from guestloop.workloads.measuring import Measuring

if TYPE_CHECKING:
    from guestloop.agent.services import Agent
    from guestloop.lab.client import L2


EVENT = "aged_pages"


class Pages(StrEnum):
    """What L2's RAM is made of in L1."""

    SMALL = "4k"
    HUGE = "thp"


class DirtyLog(StrEnum):
    """Is KVM logging dirty pages during the scans?"""

    OFF = "off"
    ON = "on"


@dataclass(frozen=True)
class Sizes:
    """Of the region and of L2's RAM, in MiB; how many scans; ``unit``: pages of 4 KiB that age as one."""

    mib: int
    ram_mib: int
    scans: int
    unit: int = 1


class Driver(ABC):
    """Who ages the pages. One object each, without a state of its own: what happens is in L1.

    ``most_false_idle`` and ``most_false_young`` are shares that a good kernel stays below by far
    (docs/method-aging.md). ``alternates``: the touched half changes with each scan. ``small`` and ``huge``
    are the sizes on 4 KiB pages and on THP. ``least_events`` are required beyond what all drivers need.
    """

    name: str
    needs: Sequence[Need] = ()
    most_false_idle: float = 0.1
    most_false_young: float = 0.1
    alternates: bool = True
    small = Sizes(mib=4, ram_mib=96, scans=3)
    huge: Sizes
    least_events: Mapping[str, int] = {}

    @abstractmethod
    def lacks(self, agent: Agent) -> str:
        """Why this L1 cannot do it, beyond ``needs``; empty when it can."""

    def settle(self, l2: L2) -> None:  # noqa: B027 - most drivers need nothing
        """Before the region is loaded: have L1 as this driver wants to find it."""

    @contextmanager
    def running(self, scan: Scan) -> Iterator[None]:  # noqa: ARG002
        """Bring the driver to where its scans are all alike, and end it. Finds what is not as asked for.

        ``scan`` is the one that comes before the first.
        """
        yield

    @abstractmethod
    def scan(self, scan: Scan) -> Belief:
        """Have pages touched and aged; returns what the driver then believes about them."""

    def scanned(self, belief: Belief, events: Mapping[str, int]) -> int:  # noqa: ARG002
        """How often L1 was asked whether a page was used; ``events`` are those of the round."""
        return belief.looked_at

    def acted(self, belief: Belief) -> bool:  # noqa: ARG002
        """Did a scan with this result act at all? One that did not says nothing about what was believed."""
        return True


@dataclass(frozen=True)
class Scene:
    """How one cell is aged: by which driver, on what pages, in which sizes, ``scale`` times the usual."""

    driver: Driver
    pages: Pages
    dirty_log: DirtyLog
    sizes: Sizes
    vcpus: int = 2
    scale: int = 1

    @property
    def region_pages(self) -> int:
        """Pages of 4 KiB in the region."""
        return self.sizes.mib * MIB // PAGE

    @property
    def grain(self) -> int:
        """Pages of 4 KiB that are touched or left alone side by side."""
        return PAGES_PER_HUGE_PAGE if self.pages is Pages.HUGE else 1

    def guest(self, name: str) -> L2Spec:
        """The L2 that this needs."""
        return L2Spec(name, memory_mib=self.sizes.ram_mib, vcpus=self.vcpus)

    def share(self, scan: int) -> Share:
        """What is touched in a scan: the two halves take turns, where the driver allows it."""
        return Share(scan % 2 if self.driver.alternates else 0, grain=self.grain)

    def judged(self, scan: int) -> Share:
        """The same share, in units that age as one."""
        return replace(self.share(scan), grain=self.grain // self.sizes.unit)


@dataclass(frozen=True)
class Scan:
    """One scan of a round: of this L2, the so-maniest. Those that are ``counted`` begin with 1."""

    this: Measuring
    l2: L2
    scene: Scene
    number: int = 0
    counted: bool = False

    @property
    def name(self) -> str:
        """The L2's, as the agent knows it."""
        return self.l2.spec.name

    @property
    def agent(self) -> Agent:
        """The agent of the L1 that this L2 runs in."""
        return self.l2.l1.agent

    @property
    def judged(self) -> Share:
        """What is touched in this scan, in units that age as one."""
        return self.scene.judged(self.number)

    @property
    def share(self) -> Share:
        """What is touched in this scan, in pages of 4 KiB."""
        return self.scene.share(self.number)

    def touch(self) -> None:
        """Have the vCPUs go once over the share of this scan."""
        self.l2.command(f"start laps=1 {self.share.words}", until="running")
        self.count(self.l2.finish_lap())

    def count(self, stopped: Mapping[str, str]) -> None:
        """Add what the load reported when it stopped to the work of the round, in a scan that is counted."""
        if self.counted:
            self.this.add_work(Work.VISITED, int(stopped["reads"]))
            self.this.add_work(Work.DIRTIED, int(stopped["writes"]))

    def move_vcpus(self) -> None:
        """To other CPUs, where no TLB hides an access."""
        self.agent.regions.move_vcpus(self.name, self.number)
