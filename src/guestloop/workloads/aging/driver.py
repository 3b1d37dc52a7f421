"""What an aging driver is: who ages the pages, and how to have it done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guestloop.agent.memory import Need
from guestloop.workloads.aging.beliefs import Belief

if TYPE_CHECKING:
    from guestloop.agent.services import Agent
    from guestloop.lab.client import L2
    from guestloop.workloads.aging.scene import Scan


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
