# SPDX-License-Identifier: GPL-2.0-or-later
"""DAMON: it samples pages while they are being touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from guestloop.ground.errors import GuestloopError
from guestloop.ground.units import PAGES_PER_HUGE_PAGE
from guestloop.workloads.aging.beliefs import Belief, judge_samples
from guestloop.workloads.aging.driver import Driver, Scan, Sizes

if TYPE_CHECKING:
    from guestloop.agent.services import Agent

MOST_PAGES = 400
SAMPLES = 5  # in an aggregation
SAMPLE_US = 200_000
MOVE_S = SAMPLE_US / 1e6 / 4  # four times a sample


class Damon(Driver):
    """Each page is a target of its own, so that what DAMON counts is what it believes about that page."""

    name = "damon"
    # Huge pages stay whole, each of them one aged page, which is asked for with each sample.
    huge = Sizes(mib=128, ram_mib=288, scans=4, unit=PAGES_PER_HUGE_PAGE)
    # It only looks where the others clear, which has a tracepoint of its own (virt/kvm/kvm_main.c).
    least_events: Mapping[str, int] = {"test_age_hva": 2000}

    def lacks(self, agent: Agent) -> str:
        return agent.damon.lacks()

    @contextmanager
    def running(self, scan: Scan) -> Iterator[None]:
        """DAMON watches meanwhile."""
        damon = scan.agent.damon
        damon.start(scan.name, MOST_PAGES, SAMPLE_US, SAMPLES * SAMPLE_US)
        try:
            yield
        finally:
            with suppress(GuestloopError):  # an L1 that is gone watches nothing
                damon.stop()

    def scan(self, scan: Scan) -> Belief:
        """Touch without a pause for one whole aggregation, and read what was seen in it."""
        scan.l2.command(f"start {scan.share.words}", until="running")
        # The aggregation in which the touching began is not judged.
        scan.agent.damon.watch(scan.name, aggregations=2, move_every_s=MOVE_S)
        scan.count(scan.l2.answer("stop", until="stopped"))
        return judge_samples(scan.judged, scan.agent.damon.seen(), SAMPLES)
