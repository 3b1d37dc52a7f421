# SPDX-License-Identifier: GPL-2.0-or-later
from guestloop.testing import GuestTest
from guestloop.workloads import aging


class Scans(GuestTest):
    """L1 ages the pages of an L2 that touches one half of them: by each driver in turn.

    A class for all drivers: the tags name none, see guestloop.job.plugin.

    :avocado: tags=aging
    """

    def test(self) -> None:
        with self.round() as this:
            aging.measure(this, self.l1)
