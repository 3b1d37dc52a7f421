# SPDX-License-Identifier: GPL-2.0-or-later
from guestloop.testing import GuestTest
from guestloop.workloads import migration


class SlowSweep(GuestTest):
    """All vCPUs go over the same pages in random order and write each seldom.

    :avocado: tags=migration,load:sweep
    """

    def test(self) -> None:
        with self.round() as this:
            migration.measure(this, self.l1)


class HotPages(GuestTest):
    """A few pages are rewritten all the time, beside others that are written as fast as it goes.

    :avocado: tags=migration,load:hot
    """

    def test(self) -> None:
        with self.round() as this:
            migration.measure(this, self.l1)


class WriteOnce(GuestTest):
    """Each page is written once, and then only looked at: what is lost is never written again.

    :avocado: tags=migration,load:once
    """

    def test(self) -> None:
        with self.round() as this:
            migration.measure(this, self.l1)


class ReadModifyWrite(GuestTest):
    """All that is written is made from what the page holds: a lost write stays lost for ever.

    :avocado: tags=migration,load:chain
    """

    def test(self) -> None:
        with self.round() as this:
            migration.measure(this, self.l1)


class DifferentOnEachVcpu(GuestTest):
    """Sweep, chain, write-once and hot pages, each on a vCPU of its own, in the same pages.

    :avocado: tags=migration,load:mix
    """

    def test(self) -> None:
        with self.round() as this:
            migration.measure(this, self.l1)


class UntilInterrupted(GuestTest):
    """A group of pages is rewritten until the vCPU leaves the guest: finds flushes that are missing.

    :avocado: tags=migration,load:linger
    """

    def test(self) -> None:
        with self.round() as this:
            migration.measure(this, self.l1)
