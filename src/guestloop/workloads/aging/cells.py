# SPDX-License-Identifier: GPL-2.0-or-later
"""The cells of aging, and the figures of each."""

from __future__ import annotations

from collections.abc import Mapping

from guestloop.workloads.aging.driver import DirtyLog, Pages, Scene
from guestloop.workloads.aging.drivers import DRIVERS

AXES: Mapping[str, tuple[str, ...]] = {
    "driver": tuple(DRIVERS),
    "pages": tuple(Pages),
    "dirty_log": tuple(DirtyLog),
}


def scene_of(variant: Mapping[str, str]) -> Scene:
    """The figures of a cell."""
    driver, pages = DRIVERS[variant["driver"]], Pages(variant["pages"])
    sizes = driver.huge if pages is Pages.HUGE else driver.small
    return Scene(driver, pages, DirtyLog(variant["dirty_log"]), sizes)
