# SPDX-License-Identifier: GPL-2.0-or-later
"""RCU grace periods, which most changes of kernel text wait for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RCU_EXPEDITED = Path("/sys/kernel/rcu_expedited")  # kernel/ksysfs.c


@contextmanager
def expedited_grace_periods() -> Iterator[None]:
    """Expedite RCU grace periods in the body: removing triggers and modules waits for dozens of them.

    That is 2 s of 3. The setting is restored before anything is counted.
    """
    if not RCU_EXPEDITED.exists():
        yield
        return
    before = RCU_EXPEDITED.read_text()
    RCU_EXPEDITED.write_text("1")
    try:
        yield
    finally:
        RCU_EXPEDITED.write_text(before)
