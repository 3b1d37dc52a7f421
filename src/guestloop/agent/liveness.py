# SPDX-License-Identifier: GPL-2.0-or-later
"""Is a guest that owes an answer stuck, or is it only slow?

Seconds on a clock cannot tell: under load on L0 everything takes longer. What is counted instead is CPU time:

* **idle**: L1's CPUs had nothing to do, so that the answer could have been produced, and nothing that
  serves the load moved: no page visited, no fault taken or fixed, no page made ready.
* **spinning**: a vCPU of the guest ran, but not a page was visited.

The figures of faults are KVM's own (arch/x86/kvm/x86.c: kvm_vcpu_stats_desc), read from debugfs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

IDLE_LIMIT_S = 20.0
"""CPU time, summed over BUSIEST of L1's CPUs, that L1 may be idle while a guest owes an answer and nothing
moves."""

BUSIEST = 2
"""So many CPUs that were least idle are looked at: a guest that works on one of 32 leaves the others idle."""

SPIN_LAPS = 20
"""A vCPU may use the CPU time of this many laps while not a page is visited."""

UNMEASURED_LAP_S = 1.5
"""CPU time assumed for a vCPU's lap before the first one of this boot has ended."""

LEAST_LAP_S = 1.0
"""The least that counts as a lap: one that had almost ended when it was waited for says nothing.

A guest reports its visits once a second of its own time, and must not be taken for stuck between two reports.
"""

DEBUGFS = Path("/sys/kernel/debug/kvm")
FAULTS = ("pf_taken", "pf_fixed", "pf_spurious")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Vitals:
    """One look. ``idle_s`` is of each of L1's CPUs, ``vcpus_s`` the CPU time of each vCPU, since they began.

    ``visits`` is what the load reported last, ``faults`` are KVM's counters of FAULTS for this guest.
    """

    idle_s: tuple[float, ...]
    vcpus_s: tuple[float, ...]
    visits: int
    faults: tuple[int, ...]


class Vigil:
    """Watches a guest from the moment it was asked; ``look`` returns why it is stuck, or nothing.

    ``lap_s`` is the CPU time that a vCPU needs for a lap on this machine.
    """

    def __init__(self, first: Vitals, lap_s: float = UNMEASURED_LAP_S) -> None:
        self._lap_s = lap_s
        self._last = first
        self._idle_s, self._spun_s = 0.0, [0.0] * len(first.vcpus_s)

    def look(self, now: Vitals, slowdown: float = 1.0) -> str:
        """Take another look. ``slowdown`` is how much L0 takes away from this L1 (ground/wait.py).

        L1 cannot see it: its clocks go on while its CPUs do not run, so that both times count for less on a
        busy L0.
        """
        last, self._last = self._last, now
        moved = (now.visits, now.faults) != (last.visits, last.faults)
        self._idle_s = 0.0 if moved else self._idle_s + idled(now, last) / slowdown
        for vcpu, ran_s in enumerate(spent(now, last)):
            visited = now.visits != last.visits
            self._spun_s[vcpu] = 0.0 if visited else self._spun_s[vcpu] + ran_s / slowdown
        if self._idle_s >= IDLE_LIMIT_S:
            return (
                f"nothing moved while L1 was idle for {self._idle_s:.0f} s of CPU time: "
                f"{now.visits} pages visited, {now.faults[0]} faults taken, {now.faults[1]} fixed"
            )
        if (longest_s := max(self._spun_s, default=0.0)) >= SPIN_LAPS * self._lap_s:
            return (
                f"a vCPU ran for {longest_s:.0f} s while not a page was visited, "
                f"{SPIN_LAPS} times what a lap takes; {now.visits} pages visited"
            )
        return ""


def spent(now: Vitals, before: Vitals) -> list[float]:
    """CPU time that each vCPU used between two looks."""
    return [late - early for late, early in zip(now.vcpus_s, before.vcpus_s, strict=True)]


def idled(now: Vitals, before: Vitals) -> float:
    """How long L1 was idle between two looks, see BUSIEST."""
    pairs = zip(now.idle_s, before.idle_s, strict=True)
    return sum(sorted(late - early for late, early in pairs)[:BUSIEST])


def read_vitals(pid: int, vcpu_threads: Sequence[int], visits: int) -> Vitals:
    """Look at the guest of a QEMU process. A guest that has just ended reads as one that does nothing."""
    return Vitals(
        idle_s=read_idle_s(Path("/proc/stat").read_text()),
        vcpus_s=tuple(_cpu_s(Path(f"/proc/{pid}/task/{thread}/stat")) for thread in vcpu_threads),
        visits=visits,
        faults=read_faults(pid),
    )


def read_idle_s(stat: str) -> tuple[float, ...]:
    """Idle time of each CPU in the text of /proc/stat (waiting for a disk is not idle)."""
    rows = (line.split() for line in stat.splitlines() if line.startswith("cpu"))
    _all, *each = (int(idle) / TICKS_PER_S for _cpu, _user, _nice, _system, idle, *_ in rows)
    return tuple(each)


def read_faults(pid: int, root: Path = DEBUGFS) -> tuple[int, ...]:
    """KVM's counters of FAULTS for the VM of a process, summed over its vCPUs; zeros without debugfs."""
    totals = [0] * len(FAULTS)
    for directory in root.glob(f"{pid}-*"):
        for at, name in enumerate(FAULTS):
            with suppress(OSError):  # its VM has just gone
                totals[at] += int((directory / name).read_text())
    return tuple(totals)


def _cpu_s(stat: Path) -> float:
    with suppress(OSError):
        # The name, in parentheses, may hold blanks; utime and stime are the 14th and 15th field.
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return 0.0
