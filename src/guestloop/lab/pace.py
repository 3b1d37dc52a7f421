# SPDX-License-Identifier: GPL-2.0-or-later
"""How much slower than usual this machine runs its L1s at the moment.

An L1 cannot see what L0 takes away from it. L0 can: /proc/PID/task/TID/schedstat says for each thread how
long it ran and how long it was ready to run and did not (Documentation/scheduler/sched-stats.rst). Every
deadline that waits for an L1, here and in its agent, is stretched by the ratio (ground/wait.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

from guestloop.ground.threads import keeping
from guestloop.ground.usage import NOTHING, Threads, Usage, read_threads, spent
from guestloop.ground.wait import clock
from guestloop.vm.boot import USUAL_BOOT_CPU_S

SAMPLE_S = 1.0

FORGET = 0.8  # how much of an earlier, slower pace is kept from sample to sample
LEARN = 0.2  # the weight of a sample in the mean of some seconds
TELL = 1.15  # agents hear of a change by this factor


def boot_speed(usage: Usage, scale: int = 1) -> float:
    """How much slower than usual this machine is by itself, from the CPU time of a boot; at least 1.

    ``scale`` is that of the L1: what a larger one takes more for its CPUs is not this machine's doing.
    """
    return max(1.0, usage.ran_s / (USUAL_BOOT_CPU_S * scale))


class Pace:
    """Keeps the pace of this process up to date, and that of the agents.

    ``pids`` returns the QEMUs that run L1s now; ``tell`` hands a new pace and slowdown (ground/wait.py:
    PacedClock) to their agents, when one of them has changed or there is a new L1. ``speed`` is boot_speed
    of the slowest boot so far.
    """

    def __init__(self, pids: Callable[[], Iterable[int]], tell: Callable[[float, float], None]) -> None:
        self._pids, self._tell = pids, tell
        self._last: Mapping[int, Threads] = {}
        self._peak = self._mean = self.speed = 1.0
        self._told = (1.0, 1.0)
        self._done = threading.Event()

    def start(self) -> None:
        """Sample in a thread of its own until ``stop``."""
        threading.Thread(target=self._keep, name="pace", daemon=True).start()

    def stop(self) -> None:
        self._done.set()

    def _keep(self) -> None:
        while not self._done.wait(SAMPLE_S):
            with keeping("the measurement of the pace"):
                self.sample({pid: read_threads(pid) for pid in self._pids()})

    def sample(self, machines: Mapping[int, Threads]) -> None:
        """Take one sample: what each L1's QEMU has used, by its pid.

        What a QEMU used before it was seen first is not of this sample.
        """
        usage = sum((spent(now, self._last.get(pid, now)) for pid, now in machines.items()), NOTHING)
        newcomers = machines.keys() - self._last.keys()
        self._last = machines
        # A lull says nothing about the load that comes back a second later.
        self._peak = max(usage.slowdown or 1.0, 1.0 + (self._peak - 1.0) * FORGET)
        if usage.slowdown:
            self._mean += (usage.slowdown - self._mean) * LEARN
        clock.pace, clock.slowdown = news = (self.speed * self._peak, self._mean)
        if newcomers or any(_differ(new, told) for new, told in zip(news, self._told, strict=True)):
            self._told = news
            self._tell(*news)


def _differ(new: float, told: float) -> bool:
    return not told / TELL < new < told * TELL
