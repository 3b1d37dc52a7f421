# SPDX-License-Identifier: GPL-2.0-or-later
"""CPU time: what a process got and waited for, thread by thread, and what the whole machine did with its own.

See Documentation/scheduler/sched-stats.rst for /proc/PID/task/TID/schedstat, and
Documentation/filesystems/proc.rst for /proc/stat.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

BUSY_S = 0.05  # of a sample: below it there is nothing to learn from


@dataclass(frozen=True)
class Usage:
    """CPU time that the threads of a process got, and that they waited for, in seconds."""

    ran_s: float
    waited_s: float

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.ran_s - other.ran_s, self.waited_s - other.waited_s)

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.ran_s + other.ran_s, self.waited_s + other.waited_s)

    @property
    def slowdown(self) -> float | None:
        """How many times longer the work took than on an idle machine; None when there was hardly any."""
        return (self.ran_s + self.waited_s) / self.ran_s if self.ran_s >= BUSY_S else None


NOTHING = Usage(0.0, 0.0)
Threads = Mapping[int, Usage]
"""What each thread of a process has used, by its id."""


def read_threads(pid: int, root: Path = Path("/proc")) -> Threads:
    """What the threads of a process have used since they were started; none when it is gone."""
    threads = {}
    for task in root.glob(f"{pid}/task/*"):
        with suppress(OSError):
            ran, waited, _slices = (task / "schedstat").read_text().split()
            threads[int(task.name)] = Usage(int(ran) / 1e9, int(waited) / 1e9)
    return threads


def total(threads: Threads) -> Usage:
    """The sum over all threads."""
    return sum(threads.values(), NOTHING)


def spent(now: Threads, before: Threads) -> Usage:
    """What the threads that live now have used since an earlier look."""
    return total({thread: usage - _earlier(thread, usage, before) for thread, usage in now.items()})


def _earlier(thread: int, now: Usage, before: Threads) -> Usage:
    """What this thread had used; nothing if the id was that of another one, which has ended."""
    earlier = before.get(thread, NOTHING)
    return earlier if earlier.ran_s <= now.ran_s else NOTHING


@dataclass(frozen=True)
class HostTime:
    """What all CPUs of this machine together did, in ticks: waited for work, were stolen, and in all.

    ``idle`` includes waiting for a disk. ``stolen`` is what the hypervisor gave to others, if this is a VM.
    """

    idle: int
    stolen: int
    total: int

    def __sub__(self, other: HostTime) -> HostTime:
        return HostTime(self.idle - other.idle, self.stolen - other.stolen, self.total - other.total)

    def share(self, part: int) -> float:
        """A part of all this time; 0 if that is shorter than a tick.

        It is within 0 and 1 also where the kernel's count of waiting for a disk goes backwards.
        """
        return min(1.0, max(0.0, part / self.total)) if self.total > 0 else 0.0


def read_host(root: Path = Path("/proc")) -> HostTime:
    """What the CPUs did since the machine was booted."""
    with (root / "stat").open() as file:
        words = file.readline().split()
    # Time of guests is in that of user and nice already.
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, words[1:9])
    return HostTime(idle + iowait, steal, user + nice + system + idle + iowait + irq + softirq + steal)
