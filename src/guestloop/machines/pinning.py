# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes on CPUs of their own."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress

from guestloop.ground.errors import LabError
from guestloop.machines.layout import list_cpus


def pin(pid: int, cpus: Collection[int]) -> None:
    """Have a process run on these CPUs alone, with all that it starts from now on; without any it is left.

    A process that is gone needs none. Raises LabError when none of the CPUs may be used any more.
    """
    if not cpus:
        return
    try:
        with suppress(ProcessLookupError):
            os.sched_setaffinity(pid, cpus)
    except OSError as error:
        raise LabError(
            f"process {pid} cannot run on CPUs {list_cpus(cpus)}: {error.strerror}",
            hint="were they taken offline, or from this process, since it was started?",
        ) from error
