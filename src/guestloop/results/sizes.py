# SPDX-License-Identifier: GPL-2.0-or-later
"""How large the machines of a run are: every L1, and by ``scale`` its L2s and what they work on.

Rounds of different sizes are never compared. A run has one, which is in its plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FACTS = "sizes."
"""Begins the names of facts of a round that say how large its L1 was."""

MOST_VCPUS = 64
"""Of an L2: so many have words of their own in each page of its load (guest-images/l2/region.h)."""

SCALES = (1, 2, 4, 8, 16)
"""Powers of two, so that machines that are alike have the same. A workload has up to 4 vCPUs at scale 1."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of a run. The defaults are those of a machine with 2 cores. Memory in MiB.

    ``scale`` is how many times larger everything else is: the number of vCPUs of an L2 where a workload wants
    more than one, its RAM, and the region that its load works on.
    """

    scale: int = 1
    l1_cpus: int = 2
    l1_memory_mib: int = 2048
    l1_swap_mib: int = 1024

    @classmethod
    def of(cls, scale: int) -> Sizes:
        """Those of this scale. Raises ValueError for one that the workloads do not know."""
        if scale not in SCALES:
            raise ValueError(f"a scale is one of {', '.join(map(str, SCALES))}, seen: {scale}")
        return cls(scale, cls.l1_cpus * scale, cls.l1_memory_mib * scale, cls.l1_swap_mib * scale)

    @property
    def most_l2_cpus(self) -> int:
        """The most vCPUs that any L2 has."""
        return MOST_VCPUS // SCALES[-1] * self.scale

    @property
    def facts(self) -> Mapping[str, str]:
        """As a round records them."""
        return {f"{FACTS}{name}": f"{value}" for name, value in vars(self).items()}

    def __str__(self) -> str:
        l1 = f"L1s of {self.l1_cpus} vCPUs and {self.l1_memory_mib} MiB"
        return f"{l1}, L2s of up to {self.most_l2_cpus} vCPUs"


USUAL = Sizes()
"""What a machine of 2 cores has, and what all profiles have that do not follow the host."""


def scale_vcpus(usual: int, scale: int) -> int:
    """How many vCPUs an L2 has that usually has so many.

    One stays one: it is there because a guest of one vCPU has nobody to flush remotely.
    """
    return usual * scale if usual > 1 else usual
