# SPDX-License-Identifier: GPL-2.0-or-later
"""CPU time that a process got and that it waited for, thread by thread (/proc/PID/task/TID/schedstat).

See Documentation/scheduler/sched-stats.rst.
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
    return total({thread: usage - before.get(thread, NOTHING) for thread, usage in now.items()})
