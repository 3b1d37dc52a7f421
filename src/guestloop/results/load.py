# SPDX-License-Identifier: GPL-2.0-or-later
"""How busy the machine was during a round."""

from __future__ import annotations

from dataclasses import dataclass

from guestloop.ground.usage import Usage


@dataclass(frozen=True)
class Load:
    """CPU time that L0 gave to the QEMU of a round's L1, and that it kept it waiting for, in seconds.

    Both are sums over the threads of that QEMU (/proc/PID/task/TID/schedstat). ``ran_s`` and ``waited_s`` are
    of the counting phases alone, ``round_ran_s`` and ``round_waited_s`` of the whole round. ``host_idle`` is
    the part of the CPU time of the whole machine that nobody used during the round (waiting for a disk
    included), ``host_stolen`` the part that its hypervisor took, if it is a VM itself (/proc/stat).
    """

    ran_s: float
    waited_s: float
    round_ran_s: float
    round_waited_s: float
    host_idle: float
    host_stolen: float

    @property
    def slowdown(self) -> float | None:
        """How many times longer the counted work took than alone here; None for hardly any work."""
        return Usage(self.ran_s, self.waited_s).slowdown
