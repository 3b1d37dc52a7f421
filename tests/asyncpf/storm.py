# SPDX-License-Identifier: GPL-2.0-or-later
from guestloop.testing import GuestTest
from guestloop.workloads import asyncpf


class _Storm(GuestTest):
    """The way of all loads; the subclasses say which."""

    def storm(self) -> None:
        with self.round() as this:
            asyncpf.measure(this, self.l1)


class SharedReadOnlyPages(_Storm):
    """All vCPUs read the same paged-out pages, which the guest maps read-only.

    :avocado: tags=asyncpf,load:read-shared
    """

    def test(self) -> None:
        self.storm()


class OwnReadOnlyPages(_Storm):
    """Control: each vCPU reads paged-out pages of its own, so no page is made ready twice.

    :avocado: tags=asyncpf,load:read-own
    """

    def test(self) -> None:
        self.storm()


class SharedWrittenPages(_Storm):
    """All vCPUs write to the same paged-out pages, each to its own word of each.

    :avocado: tags=asyncpf,load:write-shared
    """

    def test(self) -> None:
        self.storm()
