# SPDX-License-Identifier: GPL-2.0-or-later
"""What every kind of machine that can run an L1 has to say for itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from guestloop.machines.host import Host, Vendor

if TYPE_CHECKING:
    from guestloop.cache import Cache

PROGRAM = "qemu-system-x86_64"


@dataclass(frozen=True)
class Availability:
    """Whether a host can run a kind of machine, with the reason (empty: nothing to explain) and a hint."""

    usable: bool
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Qemu:
    """The QEMU that runs L1: its program, and what it is in words for the results."""

    program: Path
    description: str


class MachineKind(ABC):
    """One way to run an L1. A new kind is a module with a subclass, and an entry in ``choice.KINDS``.

    The command line imports every kind to know its name, so a module imports what builds or finds its QEMU
    only when it is asked for that.
    """

    name: ClassVar[str]
    """As ``--accel`` takes it and as ``accelerator`` in verdict.json has it."""

    title: ClassVar[str]
    """The kind in words, for messages."""

    cpu_argv: ClassVar[tuple[str, ...]]
    """Accelerator and CPU model on QEMU's command line; the board is the same for all (vm/argv.py).

    No CPU has 57-bit addresses: kernels with five levels of page tables could not be compared with others.
    """

    faults: ClassVar[tuple[str, ...]] = ()
    """What an L1's console shows when it dies of a known fault of this kind, and not of its kernel's."""

    borrows_host: ClassVar[bool] = False
    """It uses this host's KVM, which one run at a time does (host_lock.py)."""

    follows_host: ClassVar[bool] = False
    """L1s are as large as this host permits, in profiles that ask for it. The emulator's L1s pay for each
    vCPU, and nothing larger than usual was tried on it."""

    def kernel_words(self) -> tuple[str, ...]:
        """What L1's kernel is told on its command line because it runs on this kind."""
        return ()

    @abstractmethod
    def availability(self, host: Host) -> Availability:
        """Can this host run it?"""

    @abstractmethod
    def vendor(self, host: Host) -> Vendor:
        """Whose virtualization extension L1 sees on this host. Raises LabError where it cannot run."""

    @abstractmethod
    def find_qemu(self, cache: Cache) -> Qemu:
        """The QEMU for it, built now if need be. Raises LabError when it cannot be had."""
