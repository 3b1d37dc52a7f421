# SPDX-License-Identifier: GPL-2.0-or-later
"""DAMON through sysfs (Documentation/admin-guide/mm/damon/usage.rst): watch pages one by one.

DAMON looks at one address of each region per sampling interval, and merges and splits the regions of a
target as it learns. A target of a single region of one page can do neither, so that what DAMON counts for
the target is what it believes about that page. (One target with a region for each page would do, but
6.12 refuses several regions apart from each other with EINVAL.)
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from guestloop.agent.placement import moving
from guestloop.agent.regions import Atlas
from guestloop.ground.errors import GuestError
from guestloop.ground.units import PAGE

ADMIN = Path("/sys/kernel/mm/damon/admin/kdamonds")
OPERATIONS = "fvaddr"  # given ranges of a process's address space
# Modules that use DAMON for themselves, each of them in a kdamond that no other may run beside.
OTHER_USERS = Path("/sys/module")
LARGEST = (1 << 64) - 1


class Damon:
    """Service: DAMON on the pages of a region."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        self._addresses: list[int] = []

    def lacks(self) -> str:
        """Why this L1 cannot do it; empty when it can."""
        if not ADMIN.exists():
            return "L1's kernel has no CONFIG_DAMON_SYSFS"
        return find_missing(ADMIN)

    def start(self, name: str, most: int, sample_us: int, aggregation_us: int) -> int:
        """Watch the first ``most`` pages of the region, each for itself; returns their number."""
        region = self._atlas[name]
        self._addresses = region.addresses[:most]
        start(region.pid, self._addresses, sample_us, aggregation_us)
        return len(self._addresses)

    def watch(self, name: str, aggregations: int, move_every_s: float) -> None:
        """Wait for the end of the aggregation that runs, so many times.

        The vCPUs move between CPUs meanwhile: see placement.place. Raises GuestError when DAMON is off.
        """
        with moving(self._atlas[name].guest.vcpu_threads(), move_every_s):
            for _ in range(aggregations):
                finish_aggregation()

    def seen(self) -> list[int]:
        """Accesses to each watched page in the aggregation that ended last (-1: not reported)."""
        seen = read()
        return [seen.get(address, -1) for address in self._addresses]

    def stop(self) -> None:
        """Stop watching and forget all; nothing to do is fine."""
        stop()


def find_missing(root: Path) -> str:
    """What is needed here and not in this kernel's DAMON, empty when all is; nothing is watched for it."""
    _put(root, "nr_kdamonds", 1)
    try:
        _put(root / "0/contexts", "nr_contexts", 1)
        context = root / "0/contexts/0"
        _put(context / "schemes", "nr_schemes", 1)
        if OPERATIONS not in (context / "avail_operations").read_text().split():
            return "L1's kernel has no CONFIG_DAMON_VADDR"
        if not (context / "schemes/0/tried_regions").exists():
            return "DAMON of L1's kernel does not report tried_regions in sysfs (it does from 6.2 on)"
        return ""
    finally:
        _put(root, "nr_kdamonds", 0)


def start(
    pid: int, addresses: Sequence[int], sample_us: int, aggregation_us: int, root: Path = ADMIN
) -> None:
    """Watch these pages of a process, each for itself, until ``stop``."""
    _put(root, "nr_kdamonds", 1)
    _put(root / "0/contexts", "nr_contexts", 1)
    context = root / "0/contexts/0"
    _put(context, "operations", OPERATIONS)
    intervals = context / "monitoring_attrs/intervals"
    # Nothing to update: the regions are given.
    for name, value in (("sample_us", sample_us), ("aggr_us", aggregation_us), ("update_us", LARGEST >> 2)):
        _put(intervals, name, value)
    _put(context / "monitoring_attrs/nr_regions", "max", 10 * len(addresses))
    _put(context / "targets", "nr_targets", len(addresses))
    for number, address in enumerate(addresses):
        _put_target(context / f"targets/{number}", pid, address)
    _put_scheme(context / "schemes")
    _put(root / "0", "state", "on")


def _put_target(target: Path, pid: int, address: int) -> None:
    _put(target, "pid_target", pid)
    _put(target / "regions", "nr_regions", 1)
    _put(target / "regions/0", "start", address)
    _put(target / "regions/0", "end", address + PAGE)


def _put_scheme(schemes: Path) -> None:
    """A scheme that fits every region and does nothing: its ``tried_regions`` are DAMON's results."""
    _put(schemes, "nr_schemes", 1)
    _put(schemes / "0", "action", "stat")
    for name, most in (("sz", LARGEST), ("nr_accesses", 1 << 30), ("age", 1 << 30)):
        _put(schemes / "0/access_pattern" / name, "max", most)


def finish_aggregation(root: Path = ADMIN) -> None:
    """Wait for the end of the aggregation that runs; ``read`` then tells what was seen in it."""
    _put(root / "0", "state", "update_schemes_tried_regions")


def read(root: Path = ADMIN) -> dict[int, int]:
    """Accesses seen in the aggregation that was finished last, by address of the page."""
    tried = root / "0/contexts/0/schemes/0/tried_regions"
    return {
        int((region / "start").read_text()): int((region / "nr_accesses").read_text())
        for region in tried.iterdir()
        if region.is_dir()
    }


def state(root: Path = ADMIN) -> str:
    """``on`` or ``off``."""
    file = root / "0/state"
    return file.read_text().strip() if file.exists() else "off"


def stop(root: Path = ADMIN) -> None:
    """Stop watching and forget all; nothing to do is fine."""
    if state(root) == "on":
        _put(root / "0", "state", "off")
    if root.exists():
        _put(root, "nr_kdamonds", 0)


def _put(directory: Path, name: str, value: object) -> None:
    try:
        (directory / name).write_text(f"{value}")
    except OSError as error:
        what = f"DAMON refused {value} in {directory / name}: {error.strerror}"
        if error.errno == errno.EBUSY:
            users = ", ".join(running_users()) or "something that is not told in /sys/module"
            raise GuestError(
                f"{what}; another user of DAMON runs: {users}",
                hint="DAMON serves its sysfs interface only while nothing else uses it"
                " (mm/damon/core.c: damon_start); N in /sys/module/damon_*/parameters/enabled stops one",
            ) from error
        raise GuestError(what) from error


def running_users(modules: Path = OTHER_USERS) -> list[str]:
    """DAMON's own modules that are switched on: damon_stat, damon_reclaim, damon_lru_sort."""
    files = sorted(modules.glob("damon_*/parameters/enabled"))
    return [file.parts[-3] for file in files if file.read_text().strip() == "Y"]
