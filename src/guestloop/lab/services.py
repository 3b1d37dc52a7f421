# SPDX-License-Identifier: GPL-2.0-or-later
"""What a test can ask of the lab. In a test, an object of ``LabServices`` calls it (ground/rpc.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guestloop.ground.errors import LabError
from guestloop.ground.usage import Threads
from guestloop.ground.wait import clock
from guestloop.lab.spec import Acquired

if TYPE_CHECKING:  # tests import this module, and need nothing that boots an L1
    from guestloop.lab.slot import Slot


class Lab:
    """Service: the L1s of a run, each by the name of its kernel."""

    def __init__(self, slots: Mapping[str, Slot]) -> None:
        self._slots = slots

    def acquire(self, kernel: str, fresh: bool = False) -> Acquired:
        """A living L1 to measure in, see Slot.acquire."""
        return self._slot(kernel).acquire(fresh)

    def call(self, kernel: str, method: str, params: dict[str, Any], timeout_s: float) -> Any:
        """Call the agent of an L1, see agent/services.py for its methods."""
        return self._slot(kernel).call(method, params, timeout_s)

    def conclude(self, kernel: str) -> list[str]:
        """End a round in an L1, see Slot.conclude."""
        return self._slot(kernel).conclude()

    def throttle_swap(self, kernel: str, reads_per_second: int) -> None:
        """Limit the reads of an L1's swap disk (0: no limit)."""
        self._slot(kernel).throttle_swap(reads_per_second)

    def usage(self, kernel: str) -> Threads:
        """What the threads of an L1's QEMU have used so far; none when there is no L1."""
        return self._slot(kernel).usage()

    def pace(self) -> float:
        """How many times longer than usual everything takes at the moment, see lab/pace.py."""
        return clock.pace

    def _slot(self, kernel: str) -> Slot:
        if kernel not in self._slots:
            raise LabError(f"this lab has no kernel {kernel!r}; it has {', '.join(self._slots)}")
        return self._slots[kernel]


@dataclass(frozen=True)
class LabServices:
    """The services of a lab."""

    lab: Lab
