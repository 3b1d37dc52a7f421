"""What an aging driver is: who ages the pages, and how to have it done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guestloop.agent.memory import Need
from guestloop.workloads.aging.beliefs import Belief, Share
from guestloop.workloads.measuring import Measuring

if TYPE_CHECKING:
    from guestloop.agent.services import Agent
    from guestloop.lab.client import L2
    from guestloop.workloads.aging.cells import Scene


@dataclass(frozen=True)
class Sizes:
    """Of the region and of L2's RAM, in MiB; how many scans; ``unit``: pages of 4 KiB that age as one."""

    mib: int
    ram_mib: int
    scans: int
    unit: int = 1


@dataclass(frozen=True)
class Scan:
    """One scan of a cell: of this L2, the so-maniest, counted from 1."""

    l2: L2
    scene: Scene
    number: int

    @property
    def name(self) -> str:
        """The L2's, as the agent knows it."""
        return self.l2.spec.name

    @property
    def agent(self) -> Agent:
        return self.l2.l1.agent

    @property
    def judged(self) -> Share:
        """What is touched in this scan, in units that age as one."""
        return self.scene.judged(self.number)

    def touch(self) -> None:
        """Have the vCPUs go once over the share of this scan."""
        self.l2.command(f"start laps=1 {self.scene.share(self.number).words}", until="running")
        self.l2.finish_lap()

    def move_vcpus(self) -> None:
        """To other CPUs, where no TLB hides an access."""
        self.agent.regions.move_vcpus(self.name, self.number)


class Driver(ABC):
    """Who ages the pages. One object each, without a state of its own: what happens is in L1.

    ``most_false_idle`` and ``most_false_young`` are shares that a good kernel stays below by far
    (docs/method-aging.md). ``alternates``: the touched half changes with each scan. ``small`` and ``huge``
    are the sizes on 4 KiB pages and on THP.
    """

    name: str
    needs: Sequence[Need] = ()
    most_false_idle: float = 0.1
    most_false_young: float = 0.1
    alternates: bool = True
    small = Sizes(mib=4, ram_mib=96, scans=3)
    huge: Sizes

    @abstractmethod
    def lacks(self, agent: Agent) -> str:
        """Why this L1 cannot do it, beyond ``needs``; empty when it can."""

    def settle(self, l2: L2) -> None:  # noqa: B027 - most drivers need nothing
        """Before the region is loaded: have L1 as this driver wants to find it."""

    @contextmanager
    def running(self, this: Measuring, l2: L2, scene: Scene) -> Iterator[None]:  # noqa: ARG002
        """Bring the driver to where its scans are all alike, and end it. Finds what is not as asked for."""
        yield

    @abstractmethod
    def scan(self, scan: Scan) -> Belief:
        """Have pages touched and aged; what the driver then believes about them."""

    def prove(self, this: Measuring) -> None:  # noqa: B027 - most drivers have nothing to add
        """Require more events than aged pages."""
