# SPDX-License-Identifier: GPL-2.0-or-later
"""What L0 takes from an L1 during a round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestloop.ground.usage import NOTHING, read_host, spent
from guestloop.results.load import Load

if TYPE_CHECKING:
    from guestloop.lab.client import L1


class LoadMeter:
    """Measures the load of a round from now on: in all, and between each ``begin`` and ``end``.

    A reading is one call of the lab and takes a millisecond or two.
    """

    def __init__(self, l1: L1) -> None:
        self._l1, self._host = l1, read_host()
        self._start = self._since = l1.usage()
        self._counted = NOTHING

    def begin(self) -> None:
        """Counting begins."""
        self._since = self._l1.usage()

    def end(self) -> None:
        """Counting ends."""
        self._counted += spent(self._l1.usage(), self._since)

    def read(self) -> Load:
        """The load until now."""
        whole, host = spent(self._l1.usage(), self._start), read_host() - self._host
        return Load(
            ran_s=self._counted.ran_s,
            waited_s=self._counted.waited_s,
            round_ran_s=whole.ran_s,
            round_waited_s=whole.waited_s,
            host_idle=host.share(host.idle),
            host_stolen=host.share(host.stolen),
        )
