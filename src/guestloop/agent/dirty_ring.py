# SPDX-License-Identifier: GPL-2.0-or-later
"""How large KVM's dirty rings may be (Documentation/virt/kvm/api.rst, KVM_CAP_DIRTY_LOG_RING)."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from guestloop.ground.units import PAGE

DEVICE = Path("/dev/kvm")
KVM_CHECK_EXTENSION = 0xAE03  # _IO(KVMIO, 0x03), include/uapi/linux/kvm.h
KVM_CAP_DIRTY_LOG_RING = 192
ENTRY_BYTES = 16  # struct kvm_dirty_gfn

RESERVED = 64
"""KVM_DIRTY_RING_RSVD_ENTRIES, include/linux/kvm_dirty_ring.h."""

PML_ENTRIES = 512
"""Of a vCPU's buffer of page-modification logging, which is emptied into its ring at once (vmx.h)."""


@dataclass(frozen=True)
class RingLimits:
    """Entries of a vCPU's ring, which are a power of two. ``most`` is 0 when this KVM has no rings.

    ``reserved`` are those that KVM keeps free: a vCPU leaves the guest when no others are left.
    """

    reserved: int
    most: int

    @property
    def least(self) -> int:
        """At least a page of them (virt/kvm/kvm_main.c: kvm_vm_ioctl_enable_dirty_log_ring)."""
        wanted = max(self.reserved, PAGE // ENTRY_BYTES)
        return 1 << (wanted - 1).bit_length()

    def refuse(self, entries: int) -> str:
        """Why there is no ring of this size; empty if there is."""
        what = f"dirty ring of {entries} entries"
        if not self.most:
            return f"{what}: L1's KVM has no dirty ring"
        if entries < self.least:
            return f"{what}: L1's KVM keeps {self.reserved} free and takes {self.least} or more"
        if entries > self.most:
            return f"{what}: L1's KVM takes {self.most} at most"
        return ""


def read_ring_limits(pml: bool, device: Path = DEVICE) -> RingLimits:
    """Ask KVM, which must be loaded; ``pml``: it uses page-modification logging."""
    descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        most = fcntl.ioctl(descriptor, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING)
    finally:
        os.close(descriptor)
    return RingLimits(RESERVED + (PML_ENTRIES if pml else 0), most // ENTRY_BYTES)
