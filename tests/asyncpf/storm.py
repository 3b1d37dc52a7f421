from guestloop.testing import GuestTest
from guestloop.workloads import asyncpf


class SharedReadOnlyPages(GuestTest):
    """All vCPUs read the same paged-out pages, which the guest maps read-only.

    :avocado: tags=asyncpf,load:read-shared
    """

    def test(self) -> None:
        with self.round() as this:
            storm = asyncpf.Storm()
            l2 = self.start_guest(storm.guest("storm"))
            asyncpf.run(this, l2, asyncpf.Load.READ_SHARED, storm)


class OwnReadOnlyPages(GuestTest):
    """Control: each vCPU reads paged-out pages of its own, so no page is made ready twice.

    :avocado: tags=asyncpf,load:read-own
    """

    def test(self) -> None:
        with self.round() as this:
            storm = asyncpf.Storm()
            l2 = self.start_guest(storm.guest("storm"))
            asyncpf.run(this, l2, asyncpf.Load.READ_OWN, storm)
