# SPDX-License-Identifier: GPL-2.0-or-later
"""Find, or build, all that a run on the lab host takes from the cache. Runs inside its root (inside.py).

What the keys of entries depend on, such as the versions of compiler and packages, is then as the host has it.
It prints the entries that were used, each on a line that begins with USED.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from guestloop.cache import Cache
from guestloop.ground.errors import GuestloopError
from guestloop.ground.log import say
from guestloop.job.options import load_kernels
from guestloop.job.prepare import prepare
from guestloop.job.subjects import find_subjects
from guestloop.machines.choice import Choice
from guestloop.machines.host import Vendor
from guestloop.machines.nested_kvm import NestedKvm

USED = "used: "
NOWHERE = Path("/nonexistent")  # results, of which there are none


class NotingCache(Cache):
    """A cache that remembers which of its entries were used."""

    def __init__(self, root: Path | None = None) -> None:
        super().__init__(root)
        self._used: dict[Path, None] = {}

    @property
    def used(self) -> list[Path]:
        """The entries, relative to the root, in the order of their first use."""
        return [entry.relative_to(self.root) for entry in self._used]

    def find(self, kind: str, inputs: Mapping[str, object]) -> Path | None:
        """Like that of any cache."""
        entry = super().find(kind, inputs)
        if entry:
            self._used[entry] = None
        return entry

    def obtain(self, kind: str, inputs: Mapping[str, object], make: Callable[[Path], None]) -> Path:
        """Like that of any cache."""
        entry = super().obtain(kind, inputs, make)
        self._used[entry] = None
        return entry


def prime(kernels: Sequence[str], cache: NotingCache) -> list[Path]:
    """Prepare a run of these kernels with nested KVM on AMD; returns the entries that it took."""
    machine = Choice(NestedKvm(), Vendor.AMD, "")
    subjects = find_subjects(load_kernels(kernels), machine.vendor.module, cache)
    prepare(subjects, machine, NOWHERE, cache)
    return cache.used


def main(kernels: Sequence[str]) -> int:
    """Print the entries; returns an exit status."""
    try:
        entries = prime(kernels, NotingCache())
    except GuestloopError as error:
        say(error.render())
        return error.exit_status
    for entry in entries:
        say(f"{USED}{entry}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
