"""The cells of aging, and the figures of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from guestloop.ground.units import MIB, PAGE, PAGES_PER_HUGE_PAGE
from guestloop.vm.argv import L2Spec
from guestloop.workloads.aging.beliefs import Share
from guestloop.workloads.aging.driver import Driver, Sizes
from guestloop.workloads.aging.drivers import DRIVERS


class Pages(StrEnum):
    """What L2's RAM is made of in L1."""

    SMALL = "4k"
    HUGE = "thp"


class DirtyLog(StrEnum):
    """Is KVM logging dirty pages during the scans?"""

    OFF = "off"
    ON = "on"


AXES: Mapping[str, tuple[str, ...]] = {
    "driver": tuple(DRIVERS),
    "pages": tuple(Pages),
    "dirty_log": tuple(DirtyLog),
}


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


def scene_of(variant: Mapping[str, str]) -> Scene:
    """The figures of a cell."""
    driver, pages = DRIVERS[variant["driver"]], Pages(variant["pages"])
    sizes = driver.huge if pages is Pages.HUGE else driver.small
    return Scene(driver, pages, DirtyLog(variant["dirty_log"]), sizes)
