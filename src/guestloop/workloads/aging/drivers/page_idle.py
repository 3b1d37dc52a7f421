# SPDX-License-Identifier: GPL-2.0-or-later
"""page_idle: the idle bitmap, marked and read page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestloop.ground.units import PAGES_PER_HUGE_PAGE
from guestloop.workloads.aging.beliefs import Belief, judge_idle
from guestloop.workloads.aging.driver import Driver, Scan, Sizes

if TYPE_CHECKING:
    from guestloop.agent.services import Agent


class PageIdle(Driver):
    """Marks all pages idle, and looks which still are after the vCPUs touched some (mm/page_idle.c)."""

    name = "page-idle"
    # Huge pages stay whole, each of them one aged page, which is asked for twice a scan.
    huge = Sizes(mib=128, ram_mib=288, scans=17, unit=PAGES_PER_HUGE_PAGE)

    def lacks(self, agent: Agent) -> str:
        return agent.page_idle.lacks()

    def scan(self, scan: Scan) -> Belief:
        """Mark, touch, look."""
        scan.agent.page_idle.mark(scan.name)
        scan.move_vcpus()
        scan.touch()
        return judge_idle(scan.judged, scan.agent.page_idle.idle(scan.name))
