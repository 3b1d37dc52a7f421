# SPDX-License-Identifier: GPL-2.0-or-later
"""Kill registered process groups when the parent process has ended.

This program is run by its file name and uses only the standard library. The parent writes ``+PID`` and
``-PID`` lines to its stdin. End of file means that the parent has ended, no matter how (exit, Ctrl-C,
``kill -9``). Every group that is still registered then gets SIGKILL. The program runs in a session of its
own, so a Ctrl-C on the terminal does not reach it.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    """Read registrations until end of file, then kill the groups that are still registered."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        pid = int(line[1:])
        if line.startswith("+"):
            groups.add(pid)
        else:
            groups.discard(pid)
    for pid in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
