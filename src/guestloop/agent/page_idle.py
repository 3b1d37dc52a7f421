# SPDX-License-Identifier: GPL-2.0-or-later
"""Aging by the idle bitmap (Documentation/admin-guide/mm/idle_page_tracking.rst): mark, and look again."""

from __future__ import annotations

from guestloop.agent import pages
from guestloop.agent.regions import Atlas, Region
from guestloop.ground.units import PAGES_PER_HUGE_PAGE


class PageIdle:
    """Service: the idle flags of a region's pages."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        self._frames: dict[str, list[int]] = {}

    def lacks(self) -> str:
        """Why this L1 cannot do it; empty when it can."""
        return "" if pages.IDLE_BITMAP.exists() else "L1's kernel has no CONFIG_IDLE_PAGE_TRACKING"

    def mark(self, name: str) -> None:
        """Mark every page of the region idle."""
        self._frames[name] = find_folios(self._atlas[name])
        pages.mark_idle(self._frames[name])

    def idle(self, name: str) -> str:
        """Which pages are still idle since ``mark``, see Regions; a page that moved is unknown."""
        marked, now = self._frames[name], find_folios(self._atlas[name])
        frames = [frame if frame == before else 0 for frame, before in zip(now, marked, strict=True)]
        return pages.read_idle(frames)


def find_folios(region: Region) -> list[int]:
    """Host frame that carries the idle flag of each page: of a huge page, its first (mm/page_idle.c)."""
    frames = region.host_frames()
    huge = pages.read_flags(frames, pages.KPF_THP)
    return [
        frame & ~(PAGES_PER_HUGE_PAGE - 1) if flag == pages.YES else frame
        for frame, flag in zip(frames, huge, strict=True)
    ]
