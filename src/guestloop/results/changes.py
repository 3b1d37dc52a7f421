# SPDX-License-Identifier: GPL-2.0-or-later
"""What a series changes in a kernel as it was built: the functions whose machine code differs, and data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

VMLINUX = "vmlinux"


@dataclass(frozen=True)
class ChangedFunction:
    """A function whose machine code differs between reference and candidate.

    ``module`` is as in /sys/module, or ``vmlinux``. ``reference`` and ``candidate`` are the symbols at which
    it begins in these builds (``foo``, ``foo.constprop.0``), empty where it does not exist: it cannot run
    there. ``unprobeable`` says why nothing can count it, empty if that is left to the kernel.
    """

    module: str
    name: str
    reference: tuple[str, ...]
    candidate: tuple[str, ...]
    unprobeable: str = ""

    @property
    def id(self) -> str:
        """``kvm:mmu_spte_update``"""
        return f"{self.module}:{self.name}"


@dataclass(frozen=True)
class Probed:
    """What probes on changed functions have seen in a round, and while KVM was loaded for it.

    ``hits`` are calls of each function that was probed, 0 included, by ``ChangedFunction.id``. ``unprobed``
    are the functions that could not be probed in this kernel, with the reason that it gave. The probes of
    what was called before counting began are removed then: ``disturbing`` are calls that were served while
    the workload was counted.
    """

    hits: Mapping[str, int] = field(default_factory=dict)
    unprobed: Mapping[str, str] = field(default_factory=dict)
    disturbing: int = 0

    @property
    def ran(self) -> Mapping[str, int]:
        """The functions that were called."""
        return {function: hits for function, hits in self.hits.items() if hits}


@dataclass(frozen=True)
class Changes:
    """All that differs between the machine code of two kernels; ``data`` are symbols, ``kvm:vendor_ops``.

    Data that was initialised differently may matter wherever it is read, which nothing counts.
    """

    functions: tuple[ChangedFunction, ...] = ()
    data: tuple[str, ...] = ()
