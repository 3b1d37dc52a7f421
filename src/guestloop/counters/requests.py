# SPDX-License-Identifier: GPL-2.0-or-later
"""What all vCPUs were asked for, besides a flush of their TLBs: from the number of a request to its name."""

from __future__ import annotations

from collections.abc import Mapping

# include/linux/kvm_host.h: a request is a number (KVM_REQUEST_MASK) and flags. A request with
# KVM_REQUEST_NO_ACTION only has the vCPUs leave the guest, and its number means nothing.
_NUMBER_MASK = 0xFF
_NO_ACTION = 1 << 10
_GENERIC = ("tlb_flush", "vm_dead", "unblock", "dirty_ring_soft_full")
_ARCH_BASE = 8
# arch/x86/include/asm/kvm_host.h: KVM_ARCH_REQ(0) and on. They are the same from 6.1 to 7.3, but for 29,
# which was MSR_FILTER_CHANGED before it became RECALC_INTERCEPTS, and those from 32 on, which were added.
_ARCH = (
    "migrate_timer",
    "report_tpr_access",
    "triple_fault",
    "mmu_sync",
    "clock_update",
    "load_mmu_pgd",
    "event",
    "apf_halt",
    "steal_update",
    "nmi",
    "pmu",
    "pmi",
    "smi",
    "masterclock_update",
    "mclock_inprogress",
    "scan_ioapic",
    "global_clock_update",
    "apic_page_reload",
    "hv_crash",
    "ioapic_eoi_exit",
    "hv_reset",
    "hv_exit",
    "hv_stimer",
    "load_eoi_exitmap",
    "get_nested_state_pages",
    "apicv_update",
    "tlb_flush_current",
    "tlb_flush_guest",
    "apf_ready",
    "recalc_intercepts",
    "update_cpu_dirty_logging",
    "mmu_free_obsolete_roots",
    "hv_tlb_flush",
    "vmsa_page_reload",
    "update_protected_guest_state",
)
_NAMES: Mapping[int, str] = dict(enumerate(_GENERIC)) | dict(enumerate(_ARCH, _ARCH_BASE))

_OF_THE_MMU = frozenset(
    {
        "mmu_sync",
        "load_mmu_pgd",
        "tlb_flush_current",
        "tlb_flush_guest",
        "hv_tlb_flush",
        "mmu_free_obsolete_roots",
        "outside_guest_mode",
    }
)


def is_of_the_mmu(request: str) -> bool:
    """Whether a request of this name is about translations, so that a flush can be traded for it.

    One that has no name may be. Others come with interrupts, clocks and the state of devices.
    """
    return request in _OF_THE_MMU or request.startswith("request ")


def request_name(request: int) -> str:
    """Return the name of a request as ``kvm_make_all_cpus_request()`` takes it, flags included.

    It is KVM's own without the prefix, in lower case: ``mmu_free_obsolete_roots`` for 0x327. A number that no
    kernel from 6.1 to 7.3 has is ``request 43``.
    """
    if request & _NO_ACTION:
        return "outside_guest_mode"
    number = request & _NUMBER_MASK
    return _NAMES.get(number, f"request {number}")
