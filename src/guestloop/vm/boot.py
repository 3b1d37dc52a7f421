# SPDX-License-Identifier: GPL-2.0-or-later
"""How long an L1 may take to boot: as long as it gets on, judged by its console and by its own CPU time.

The clock cannot tell a slow boot from one that hangs, because the machine may be busy. The CPU time that L1
itself used can.
"""

from __future__ import annotations

from dataclasses import dataclass

from guestloop.ground.usage import Usage

USUAL_BOOT_CPU_S = 5.0
"""CPU time that an L1 takes from power-on to its agent on a usual core under emulation (README)."""

SILENT_CPU_S = 6 * USUAL_BOOT_CPU_S
"""Of CPU time without a new line: a kernel that loops. One that unpacks itself is silent for a third."""

WHOLE_CPU_S = 24 * USUAL_BOOT_CPU_S
"""Of CPU time for a whole boot: a kernel that goes on printing, as its watchdogs do, and gets nowhere."""

IDLE_S = 20.0
"""Without a new line and without a thread of QEMU that wants to run: a kernel that waits in vain."""


@dataclass(frozen=True)
class Progress:
    """How far a boot has got at a monotonic time: bytes on its console, and CPU time of its QEMU."""

    at_s: float
    console_bytes: int
    usage: Usage


class BootVigil:
    """Watches one boot from its start; ``look`` returns why it is given up, or nothing.

    ``scale`` is that of the L1 (results/sizes.py): to bring up more CPUs and memory takes more CPU time.
    """

    def __init__(self, first: Progress, scale: int = 1) -> None:
        self._first = self._printed = first
        self._scale = scale

    def look(self, now: Progress) -> str:
        """Take another look."""
        if now.console_bytes != self._printed.console_bytes:
            self._printed = now
        spent, silent = now.usage - self._first.usage, now.usage - self._printed.usage
        idle_s = now.at_s - self._printed.at_s - silent.ran_s - silent.waited_s
        if silent.ran_s >= SILENT_CPU_S * self._scale:
            return f"nothing new on its console for {silent.ran_s:.0f} s of its CPU time"
        if idle_s >= IDLE_S:
            return f"nothing new on its console while it was idle for {idle_s:.0f} s"
        if spent.ran_s >= WHOLE_CPU_S * self._scale:
            return f"no agent after {spent.ran_s:.0f} s of its CPU time"
        return ""
