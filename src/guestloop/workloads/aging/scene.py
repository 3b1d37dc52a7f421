"""What is aged, and one scan of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from guestloop.ground.units import MIB, PAGE, PAGES_PER_HUGE_PAGE
from guestloop.vm.argv import L2Spec
from guestloop.workloads.aging.beliefs import Share
from guestloop.workloads.aging.driver import Driver, Sizes
from guestloop.workloads.measuring import Measuring

if TYPE_CHECKING:
    from guestloop.agent.services import Agent
    from guestloop.lab.client import L2


class Pages(StrEnum):
    """What L2's RAM is made of in L1."""

    SMALL = "4k"
    HUGE = "thp"


class DirtyLog(StrEnum):
    """Is KVM logging dirty pages during the scans?"""

    OFF = "off"
    ON = "on"


@dataclass(frozen=True)
class Scene:
    """How one cell is aged: by which driver, on what pages, in which sizes."""

    driver: Driver
    pages: Pages
    dirty_log: DirtyLog
    sizes: Sizes
    vcpus: int = 2

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
    """One scan of a round: of this L2, the so-maniest. Those that count begin with 1."""

    this: Measuring
    l2: L2
    scene: Scene
    number: int = 0

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
        self.l2.finish_lap()

    def move_vcpus(self) -> None:
        """To other CPUs, where no TLB hides an access."""
        self.agent.regions.move_vcpus(self.name, self.number)
