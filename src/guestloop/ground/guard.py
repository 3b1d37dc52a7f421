# SPDX-License-Identifier: GPL-2.0-or-later
"""Kill registered process groups when the parent process has ended, and remove its control groups.

This program is run by its file name and uses only the standard library. The parent writes ``+PID`` and
``-PID`` lines to its stdin for process groups, ``@PATH`` and ``!PATH`` lines for control groups. End of file
means that the parent has ended, no matter how (exit, Ctrl-C, ``kill -9``). Every group that is still
registered then gets SIGKILL. The program runs in a session of its own, so a Ctrl-C on the terminal does not
reach it.
"""

import contextlib
import os
import select
import signal
import sys
from pathlib import Path

TRIES, APART_MS = 100, 100


def main() -> None:
    """Read registrations until end of file, then kill what is still registered."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    pids: set[int] = set()
    cgroups: set[str] = set()
    for line in sys.stdin:
        sign, name = line[0], line[1:].rstrip("\n")
        match sign:
            case "+":
                pids.add(int(name))
            case "-":
                pids.discard(int(name))
            case "@":
                cgroups.add(name)
            case "!":
                cgroups.discard(name)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    for cgroup in cgroups:
        remove(Path(cgroup))


def remove(cgroup: Path) -> None:
    """End all processes in a control group and remove it, which works once they are gone."""
    # From 5.14 on; process groups that were registered are killed in any case.
    with contextlib.suppress(OSError), (cgroup / "cgroup.kill").open("r+") as file:
        file.write("1")
    for _ in range(TRIES):
        try:
            cgroup.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            select.poll().poll(APART_MS)


if __name__ == "__main__":
    main()
