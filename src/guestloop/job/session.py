# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab process of a run, and the environment by which tests find it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from guestloop.ground import proc
from guestloop.ground.isolated import python
from guestloop.lab.spec import OUT_VARIABLE, SOCKET_VARIABLE, LabSpec

LAB_END_S = 30.0


@contextmanager
def running_lab(spec: LabSpec, out: Path) -> Iterator[None]:
    """A lab for as long as the body runs. The L1s begin to boot at once.

    The lab ends when its stdin does: when the body is left, or when this process dies.
    """
    spec.directory.mkdir(parents=True, exist_ok=True)
    reading, writing = os.pipe()
    command = python("guestloop.lab.server")
    variables = {SOCKET_VARIABLE: spec.socket, OUT_VARIABLE: str(out)}
    with (spec.directory / "lab.log").open("ab") as log:
        try:
            with proc.spawn(command, stdin=reading, stdout=log) as process:
                os.close(reading)
                os.write(writing, spec.dump().encode() + b"\n")
                os.environ.update(variables)
                try:
                    yield
                finally:
                    for name in variables:
                        os.environ.pop(name, None)
                    os.close(writing)
                    with suppress(proc.STILL_RUNNING):  # then it is ended with all it started
                        process.wait(LAB_END_S)
        finally:
            log.flush()
