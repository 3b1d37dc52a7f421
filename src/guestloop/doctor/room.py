# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines about what a run needs: memory, CPUs, disk, packages, cgroups, time (pure but for the profiles)."""

from __future__ import annotations

from collections.abc import Iterator

from guestloop.doctor.check import Check, Level, lacking, ok, warning
from guestloop.doctor.facts import Facts
from guestloop.ground.errors import ConfigError
from guestloop.ground.words import listed
from guestloop.machines.choice import KINDS
from guestloop.machines.containment import Way
from guestloop.machines.layout import lay_out, most_labs
from guestloop.results.sizes import USUAL

KERNELS = 2
LEAST_MIB = 1800
"""The most that a whole run was seen to use, with two L1s (README.md, Figures)."""
CACHE_MIB = 4096
BUILT_MIB = 512
"""What is written once everything is built: results, swap of L1s, kernels of a new series."""


def check_room(facts: Facts) -> Iterator[Check]:
    yield _memory(facts)
    yield _cpus(facts)
    yield _sizes(facts)
    yield _disk(facts)
    yield _packages(facts)
    yield _cgroups(facts)
    yield _time(facts)


def _memory(facts: Facts) -> Check:
    free, wanted = facts.conditions.memory_mib, KERNELS * USUAL.l1_memory_mib
    text = f"{free} MiB can be used of {facts.host.memory_mib}"
    if free < LEAST_MIB:
        return lacking("memory", f"{text}; a run of two kernels uses up to {LEAST_MIB}", "free some memory")
    if free < wanted:
        return warning("memory", f"{text}; two L1s have {wanted}: L0 may page them out", "free some memory")
    return ok("memory", text)


def _cpus(facts: Facts) -> Check:
    seen, needed = facts.conditions, USUAL.l1_cpus
    text = f"this process may use {seen.cpus} of {facts.host.cpus}"
    if seen.quota is not None and seen.quota < needed:
        return warning("CPUs", f"{text}, and {seen.quota:g} CPUs' time (cpu.max): an L1 has {needed} vCPUs")
    if seen.cpus < needed:
        return warning("CPUs", f"{text}: an L1 has {needed} vCPUs, and these would never run at once")
    return ok("CPUs", text)


def _sizes(facts: Facts) -> Check:
    """Those of a run of two kernels, as it decides them itself."""
    labs = most_labs(facts.room, KERNELS)
    beside = f"; room for {labs} labs side by side (--labs)" if labs > 1 else ""
    largest = lay_out(facts.room, KERNELS, sizes=None).sizes
    if largest == USUAL or not KINDS[0].availability(facts.host).usable:
        return ok("sizes", f"{USUAL}{beside}")
    return ok("sizes", f"{USUAL}; profiles with host-sizes (lab): {largest}{beside}")


def _disk(facts: Facts) -> Check:
    disk = facts.disk
    if disk is None:
        return lacking("disk", "no place for the cache", "set GUESTLOOP_CACHE to a writable directory")
    needed = BUILT_MIB if disk.built else CACHE_MIB
    text = f"{disk.free_mib} MiB free for the cache {disk.path}"
    if disk.free_mib < needed:
        mend = "set GUESTLOOP_CACHE to a larger disk"
        return lacking("disk", f"{text}, {needed} are needed", mend)
    return ok("disk", text)


def _packages(facts: Facts) -> Check:
    seen = facts.packages
    if not seen.known:
        return lacking(
            "packages", "no dpkg: scripts/run installs what it needs on Debian only", "use Debian 12"
        )
    if seen.missing:
        command = f"apt-get install --no-install-recommends {' '.join(seen.missing)}"
        text = f"missing: {listed(seen.missing, 6)}"
        if facts.is_root:
            return warning("packages", f"{text}; scripts/run installs them", command)
        return lacking("packages", text, command)
    if seen.optional:
        return warning(
            "packages",
            f"missing: {', '.join(seen.optional)}, without which builds are not contained",
            f"apt-get install {' '.join(seen.optional)}",
        )
    return ok("packages", "all of scripts/packages are installed")


def _cgroups(facts: Facts) -> Check:
    """Runs on the emulator need none: they do not borrow the host."""
    seen, way = facts.cgroups, facts.way
    if not KINDS[0].availability(facts.host).usable:
        return ok("cgroups", seen.hierarchy.value)
    if way.way is Way.NONE:
        return warning("cgroups", f"{seen.hierarchy}: L1s are not contained: {way.reason}")
    if way.missing:
        mend = f"echo +{' +'.join(way.missing)} > {seen.own}/cgroup.subtree_control"
        return warning(
            "cgroups", f"{seen.hierarchy}: {way.way} without limits of {' and '.join(way.missing)}", mend
        )
    return ok("cgroups", f"{seen.hierarchy}: L1s get {way.way} with limits")


def _time(facts: Facts) -> Check:
    """As the emulator does it on 2 cores: no other figures were ever measured."""
    try:
        expected = [f"{name} {_about(seconds)}" for name, seconds in _profiles()]
    except ImportError:  # PyYAML is of the environment, which scripts/run makes
        return ok("time", "known when scripts/run has made its Python environment")
    except ConfigError as error:
        return warning("time", error.first_line, error.hint)
    first = "" if facts.disk and facts.disk.built else "; about half an hour of builds before the first"
    return ok("time", f"at least {', '.join(expected)}, as the emulator does it on 2 cores{first}")


def _about(seconds: float) -> str:
    """``34 s``, ``22 min`` or ``107 h``: an estimate has no more digits."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3 * 3600 else f"{seconds / 3600:.0f} h"


def _profiles() -> Iterator[tuple[str, float]]:
    """Each profile with the seconds that its rounds take at least on two kernels."""
    from guestloop.config import load_profiles
    from guestloop.job.schedule import USUAL_OVERHEAD_S, USUAL_ROUND_S
    from guestloop.vm.boot import USUAL_BOOT_CPU_S
    from guestloop.workloads.catalog import AXES
    from guestloop.workloads.selection import count_cells

    for name, profile in load_profiles(AXES).items():
        boot_s = USUAL_BOOT_CPU_S if profile.fresh_boots else 0.0
        rounds = count_cells(profile) * profile.looks[0] * KERNELS
        yield name, max(rounds * (USUAL_ROUND_S + USUAL_OVERHEAD_S + boot_s), profile.budget_s or 0.0)


def has_room(checks: list[Check]) -> bool:
    """Whether nothing that every run needs is lacking."""
    needed = {"memory", "disk", "packages"}
    return not any(check.topic in needed and check.level is Level.LACKING for check in checks)
