# SPDX-License-Identifier: GPL-2.0-or-later
"""L1 itself: what it is, how it may be waited for, and what its kernel has warned of."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from guestloop.agent.boot_facts import read_boot_facts
from guestloop.agent.kvm import build_id
from guestloop.ground import threads
from guestloop.ground.wait import clock

WARN_ONCE = Path("/sys/kernel/debug/clear_warn_once")
KMSG = Path("/dev/kmsg")


@dataclass(frozen=True)
class Hello:
    """Facts about L1 that L0 checks against what it booted."""

    release: str
    build_id: str
    cpus: int
    uptime_s: float


class System:
    """Service: L1 as a machine."""

    def hello(self) -> Hello:
        """What this L1 is."""
        return Hello(
            release=os.uname().release,
            build_id=build_id("vmlinux"),
            cpus=os.cpu_count() or 0,
            uptime_s=float(Path("/proc/uptime").read_text().split()[0]),
        )

    def boot_facts(self) -> dict[str, str]:
        """What the kernel was told at boot and made of it, see boot_facts.py."""
        return read_boot_facts()

    def set_pace(self, pace: float, slowdown: float) -> None:
        """How much slower than usual L0 lets this L1 run at the moment, see ground/wait.py: PacedClock."""
        clock.pace, clock.slowdown = pace, slowdown

    def raise_faults(self) -> None:
        """Raise InternalError when a thread of the agent died since the last time, see ground/threads.py."""
        threads.raise_kept("the agent")

    def rearm_warnings(self) -> bool:
        """Have each WARN_ONCE warn once more (kernel/panic.c: clear_warn_once_set); False without it."""
        if not WARN_ONCE.exists():
            return False
        WARN_ONCE.write_text("1")
        return True

    def write_console(self, text: str) -> None:
        """Write a line to L1's console, behind everything that its kernel has printed so far."""
        KMSG.write_text(f"<0>{text}\n")
