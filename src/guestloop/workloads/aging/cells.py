# SPDX-License-Identifier: GPL-2.0-or-later
"""The cells of aging, and the figures of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from guestloop.results.sizes import scale_vcpus
from guestloop.workloads.aging.driver import DirtyLog, Pages, Scene
from guestloop.workloads.aging.drivers import DRIVERS

AXES: Mapping[str, tuple[str, ...]] = {
    "driver": tuple(DRIVERS),
    "pages": tuple(Pages),
    "dirty_log": tuple(DirtyLog),
}


def scene_of(variant: Mapping[str, str], scale: int = 1) -> Scene:
    """The figures of a cell; ``scale`` is that of the run (results/sizes.py)."""
    driver, pages = DRIVERS[variant["driver"]], Pages(variant["pages"])
    sizes = driver.huge if pages is Pages.HUGE else driver.small
    sizes = replace(sizes, mib=sizes.mib * scale, ram_mib=sizes.ram_mib * scale)
    return Scene(driver, pages, DirtyLog(variant["dirty_log"]), sizes, scale_vcpus(Scene.vcpus, scale), scale)
