# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines about what would spoil a measurement: how CPUs run, what memory is made of, who else is here."""

from __future__ import annotations

from collections.abc import Iterator

from guestloop.doctor.check import Check, ok, warning
from guestloop.doctor.facts import Facts
from guestloop.ground.words import listed, plural
from guestloop.machines.conditions import Conditions

BUSY = 0.5
"""Load average of a minute for each CPU: work beside a run makes its rounds scatter more."""


def check_surroundings(facts: Facts) -> Iterator[Check]:
    seen = facts.conditions
    yield _smt(seen)
    yield _governor(seen)
    yield _thp(seen)
    yield _ksm(seen)
    yield _swap(seen)
    yield _load(seen)
    yield _guests(seen)
    yield _borrowed(facts)


def _smt(seen: Conditions) -> Check:
    if seen.smt in ("on", ""):
        text = "on: the vCPUs of an L1 may share a core" if seen.smt else "the kernel does not say"
        mend = "echo off > /sys/devices/system/cpu/smt/control" if seen.smt else ""
        return warning("SMT", text, mend)
    return ok("SMT", seen.smt)


def _governor(seen: Conditions) -> Check:
    if not seen.governors:
        return ok("governor", "none: the frequency is not this machine's to set")
    if seen.governors == ("performance",):
        return ok("governor", "performance")
    mend = "cpupower frequency-set -g performance"
    return warning("governor", f"{', '.join(seen.governors)}: the speed changes with the load", mend)


def _thp(seen: Conditions) -> Check:
    """QEMU asks for huge pages for L1's RAM (softmmu/physmem.c: ram_block_add)."""
    if seen.thp in ("always", "madvise"):
        return ok("THP", seen.thp)
    mend = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled" if seen.thp else ""
    return warning(
        "THP", f"{seen.thp or 'not in this kernel'}: L1's memory is 4 KiB pages, its faults are dearer", mend
    )


def _ksm(seen: Conditions) -> Check:
    if seen.ksm:
        return warning(
            "KSM", "on: pages of L1s may be merged and unmapped", "echo 0 > /sys/kernel/mm/ksm/run"
        )
    return ok("KSM", "off")


def _swap(seen: Conditions) -> Check:
    if seen.swap_used_mib:
        text = f"{seen.swap_used_mib} MiB of swap are in use: L0 may page L1s out"
        return warning("L0 swap", text, "swapoff -a, where memory permits")
    return ok("L0 swap", "not in use")


def _load(seen: Conditions) -> Check:
    text = f"{seen.load:.1f} in the last minute on {plural(seen.cpus, 'CPU')}"
    if seen.load > BUSY * seen.cpus:
        return warning("load", f"{text}: rounds take longer and scatter more", "wait, or end what else runs")
    return ok("load", text)


def _guests(seen: Conditions) -> Check:
    if seen.guests:
        pids = listed([str(pid) for pid in seen.guests], 4)
        return warning("other guests", f"{plural(len(seen.guests), 'guest')} on this machine, pid {pids}")
    if seen.kvm_users:
        return warning("other guests", f"KVM is in use (references: {seen.kvm_users})")
    return ok("other guests", "none")


def _borrowed(facts: Facts) -> Check:
    if facts.holder:
        return warning("lock", f"a run uses this host's KVM: {facts.holder}", "wait for its end")
    return ok("lock", "no run uses this host's KVM")
