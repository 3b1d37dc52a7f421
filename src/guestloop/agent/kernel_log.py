# SPDX-License-Identifier: GPL-2.0-or-later
"""What L1's kernel logs while something is done (/dev/kmsg, Documentation/ABI/testing/dev-kmsg)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KMSG = Path("/dev/kmsg")
RECORD_BYTES = 8192


class KernelLog:
    """The kernel's log from the moment at which this was made."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def lines(self) -> list[str]:
        """The texts of all records that were not returned before."""
        return [parse_record(record) for record in self._records()]

    def _records(self) -> Iterator[str]:
        """Each read gives one record, EPIPE when some were overwritten before they were read."""
        while True:
            try:
                record = os.read(self._descriptor, RECORD_BYTES)
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue
            if not record:
                return
            yield record.decode(errors="replace")


def parse_record(record: str) -> str:
    """The text of ``6,1187,91230177,-;kvm: text``, without what follows on further lines."""
    return record.partition(";")[2].partition("\n")[0]


@contextmanager
def kernel_log(path: Path = KMSG) -> Iterator[KernelLog]:
    """What the kernel logs from here on."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.lseek(descriptor, 0, os.SEEK_END)
        yield KernelLog(descriptor)
    finally:
        os.close(descriptor)
