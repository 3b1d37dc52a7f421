"""The aging drivers, by the name that cells and tests call them by."""

from collections.abc import Mapping

from guestloop.workloads.aging.driver import Driver
from guestloop.workloads.aging.drivers.damon import Damon
from guestloop.workloads.aging.drivers.mglru import Mglru
from guestloop.workloads.aging.drivers.page_idle import PageIdle
from guestloop.workloads.aging.drivers.reclaim import Reclaim

DRIVERS: Mapping[str, Driver] = {driver.name: driver for driver in (Reclaim(), PageIdle(), Mglru(), Damon())}
