"""DAMON: it samples pages while they are being touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from guestloop.ground.errors import GuestloopError
from guestloop.ground.units import PAGES_PER_HUGE_PAGE
from guestloop.workloads.aging.beliefs import Belief, judge_samples
from guestloop.workloads.aging.driver import Driver, Scan, Sizes
from guestloop.workloads.measuring import Measuring

if TYPE_CHECKING:
    from guestloop.agent.services import Agent
    from guestloop.lab.client import L2
    from guestloop.workloads.aging.cells import Scene

MOST_PAGES = 400
SAMPLES = 5  # in an aggregation
SAMPLE_US = 200_000
MOVE_S = SAMPLE_US / 1e6 / 4  # four times a sample
LEAST_LOOKS = 2000


class Damon(Driver):
    """Each page is a target of its own, so that what DAMON counts is what it believes about that page."""

    name = "damon"
    # Huge pages stay whole, each of them one aged page, which is asked for with each sample.
    huge = Sizes(mib=128, ram_mib=288, scans=4, unit=PAGES_PER_HUGE_PAGE)

    def lacks(self, agent: Agent) -> str:
        return agent.damon.lacks()

    @contextmanager
    def running(self, this: Measuring, l2: L2, scene: Scene) -> Iterator[None]:  # noqa: ARG002
        """DAMON watches meanwhile."""
        damon = l2.l1.agent.damon
        damon.start(l2.spec.name, MOST_PAGES, SAMPLE_US, SAMPLES * SAMPLE_US)
        try:
            yield
        finally:
            with suppress(GuestloopError):  # an L1 that is gone watches nothing
                damon.stop()

    def scan(self, scan: Scan) -> Belief:
        """Touch without a pause for one whole aggregation, and read what was seen in it."""
        scan.l2.command(f"start {scan.scene.share(scan.number).words}", until="running")
        try:
            # The aggregation in which the touching began is not judged.
            scan.agent.damon.watch(scan.name, aggregations=2, move_every_s=MOVE_S)
        finally:
            scan.l2.answer("stop", until="stopped")
        return judge_samples(scan.judged, scan.agent.damon.seen(), SAMPLES)

    def prove(self, this: Measuring) -> None:
        """It only looks where the others clear, which has a tracepoint of its own (kvm_main.c)."""
        this.require("test_age_hva", LEAST_LOOKS)
