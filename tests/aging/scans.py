from guestloop.testing import GuestTest
from guestloop.workloads import aging


class _Scans(GuestTest):
    """The way of all drivers; the subclasses say which."""

    def scan(self) -> None:
        with self.round() as this:
            aging.measure(this, self.l1)


class ClassicReclaim(_Scans):
    """L1 reclaims by the classic LRU, which flushes for each page it finds young.

    :avocado: tags=aging,driver:reclaim
    """

    def test(self) -> None:
        self.scan()


class PageIdle(_Scans):
    """L1 asks page by page, through the idle bitmap.

    :avocado: tags=aging,driver:page-idle
    """

    def test(self) -> None:
        self.scan()


class MultiGenLru(_Scans):
    """L1 makes new generations of pages through MGLRU's debugfs file, and evicts old ones.

    :avocado: tags=aging,driver:mglru
    """

    def test(self) -> None:
        self.scan()


class Damon(_Scans):
    """DAMON samples the pages while they are being touched.

    :avocado: tags=aging,driver:damon
    """

    def test(self) -> None:
        self.scan()
