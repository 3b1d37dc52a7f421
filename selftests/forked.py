# SPDX-License-Identifier: GPL-2.0-or-later
"""The processes of a job's tests as forks of this one, which has imported what they need.

To import Avocado takes ten times longer than to run a test that does nothing.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import runpy
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.context import ForkProcess
from unittest.mock import patch


class Forked:
    """What asyncio.create_subprocess_exec returns, as far as Avocado uses it."""

    def __init__(self, process: ForkProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    async def wait(self) -> int:
        """The status, negative for a signal."""
        while self._process.exitcode is None:  # several may wait
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            handle = os.dup(self._process.sentinel)
            loop.add_reader(handle, ended.set)
            await ended.wait()
            loop.remove_reader(handle)
            os.close(handle)
            self._process.join()
        return self._process.exitcode


async def start_runner(*argv: str, env: Mapping[str, str] | None = None, **_streams: int) -> Forked:
    """In place of create_subprocess_exec, for commands of the form ``python ... MODULE task-run ...``."""
    at = argv.index("task-run")
    arguments = [*argv[at - 1 :]], dict(env or os.environ)
    process = multiprocessing.get_context("fork").Process(target=_run, args=arguments)
    process.start()
    return Forked(process)


def _run(argv: list[str], env: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(env)
    sys.argv = argv
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


@contextmanager
def forked_runners() -> Iterator[None]:
    """For the jobs that the body runs."""
    with patch.object(asyncio, "create_subprocess_exec", start_runner):
        yield
