"""Kills registered process groups when its parent is gone; run by file name, standard library only.

The parent writes ``+PID`` and ``-PID`` lines to this program's stdin. End of file means that the
parent ended, however it did (exit, Ctrl-C, ``kill -9``): every group still registered gets SIGKILL.
It lives in its own session, so a Ctrl-C on the terminal does not reach it.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    """Read registrations until end of file, then kill what is left."""
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
