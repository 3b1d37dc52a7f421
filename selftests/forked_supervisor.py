# SPDX-License-Identifier: GPL-2.0-or-later
"""Supervisors of runs as forks of this process: to start a Python for each takes longer than what it does.

A fork keeps nothing of this process but what a process that was started would have.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

from guestloop.ground import proc
from guestloop.remote.there.runs import Attempt
from guestloop.remote.there.supervisor import Supervisor


class Forked:
    """What proc.detach returns, as far as it is used."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None


@contextmanager
def forked_supervisors() -> Iterator[None]:
    """For the attempts that the body begins."""
    forks: list[Forked] = []

    def detach(argv: Sequence[str | Path], *, log: Path, pass_fds: Sequence[int] = ()) -> Forked:
        with log.open("ab") as output:
            forks.append(_fork(Attempt(*map(Path, argv[-2:])), output.fileno(), pass_fds))
        return forks[-1]

    with patch.object(proc, "detach", detach):
        yield
    for fork in forks:
        with suppress(ChildProcessError):  # it was found to have ended
            fork.poll()


def _fork(attempt: Attempt, output: int, kept: Sequence[int]) -> Forked:
    if pid := os.fork():
        return Forked(pid)
    try:
        os.setsid()
        _let_go_of_files(output, kept)
        proc._guard = proc._Guard()  # another thread may have had its lock
        Supervisor(attempt).run()
    except BaseException:  # noqa: BLE001 - nobody is there to raise it to
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(0)


def _let_go_of_files(output: int, kept: Sequence[int]) -> None:
    """Their numbers stay taken: objects that are gone close them, whatever they are by then."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (int(path.name) for path in Path("/proc/self/fd").iterdir()):
        if number not in (null, output, *kept):
            os.dup2(null, number, inheritable=False)
    for number, source in enumerate((null, output, output)):
        os.dup2(source, number)
