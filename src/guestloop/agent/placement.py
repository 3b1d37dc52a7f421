# SPDX-License-Identifier: GPL-2.0-or-later
"""Where in L1 the vCPUs of an L2 run.

A translation that a TLB keeps from before hides an access from whoever cleared the Accessed bit. A vCPU that
comes to another CPU finds none there: it gets a new ASID (arch/x86/kvm/svm/svm.c: pre_svm_run), or its
translations are flushed (arch/x86/kvm/vmx/vmx.c: vmx_vcpu_load_vmcs).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from guestloop.ground.errors import GuestError


def place(threads: Sequence[int], turn: int) -> list[int]:
    """Give each thread a CPU, and another one in the next turn; gives the CPUs.

    Raises GuestError when there is but one CPU.
    """
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise GuestError("vCPUs cannot be moved: this L1 has one CPU")
    chosen = [cpus[(number + turn) % len(cpus)] for number in range(len(threads))]
    for thread, cpu in zip(threads, chosen, strict=True):
        os.sched_setaffinity(thread, [cpu])
    return chosen


@contextmanager
def moving(threads: Sequence[int], every_s: float) -> Iterator[None]:
    """Move these threads from CPU to CPU while the body runs, unless they end."""
    done = threading.Event()

    def move() -> None:
        turn = 0
        with suppress(ProcessLookupError):  # their guest is gone, which is told elsewhere
            while not done.wait(every_s):
                turn += 1
                place(threads, turn)

    place(threads, 0)
    mover = threading.Thread(target=move, name="moving-vcpus")
    mover.start()
    try:
        yield
    finally:
        done.set()
        mover.join()
