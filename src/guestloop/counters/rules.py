# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of named call paths, and the functions that identify each of them.

A stack often contains frames of more than one path. For example, a vCPU's page fault that swaps a
page in may reclaim another page and so reach an MMU notifier; the notifier then requested the flush.
Therefore the table is ordered, and the first rule that matches a frame wins:

1. requests of the rest of the kernel to KVM (MMU notifiers, guest_memfd, the end of the VM);
2. requests of user space (dirty logging, memslots);
3. KVM's own work (recycling shadow pages, following the guest's page tables). A page fault may
   trigger it, but it does not concern the page that faulted;
4. the page fault or page-ready event itself.

Symbols are those of 6.1 to 7.3: a path whose functions were renamed keeps its name. Inlining differs
between compilers. So rules name functions that are never inlined (``EXPORT_SYMBOL``, called from another
file, or called through a pointer), and in addition the functions inlined into them, where these are more
specific. Without frame pointers, as distributions build, a function that ends with the call of another one
jumps there and is not in the stack. So where that was seen the function that called it is named too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class PathRule:
    """A named path and the functions that identify it. ``source`` says where in the kernel, and why.

    ``as_caller`` are functions that match only as the requester itself (the innermost frame outside
    of the flush helpers), because other paths run through them too.

    A kernel has the path if its KVM has one of ``functions``: each version from 6.1 on that has the path has
    one among them that is never inlined.
    """

    path: str
    source: str
    functions: tuple[str, ...]
    as_caller: tuple[str, ...] = ()

    def matches(self, frames: tuple[str, ...], caller: str) -> bool:
        """Return whether a stack belongs to this path; names come without compiler suffixes."""
        return caller in self.as_caller or any(frame in self.functions for frame in frames)

    def is_in(self, functions: Collection[str]) -> bool:
        """Return whether a kernel whose KVM has these functions has this path."""
        return any(function in functions for function in self.functions)


RULES: tuple[PathRule, ...] = (
    PathRule(
        "clear_flush_young",
        "virt/kvm/kvm_main.c: kvm_mmu_notifier_clear_flush_young, from mm/mmu_notifier.c: aging by the "
        "classic LRU and of PMD-mapped THP; flushes when any page was young (flush_on_ret)",
        ("kvm_mmu_notifier_clear_flush_young", "__mmu_notifier_clear_flush_young"),
    ),
    PathRule(
        "clear_young",
        "virt/kvm/kvm_main.c: kvm_mmu_notifier_clear_young and _test_young: page_idle, DAMON, MGLRU; 6.12 "
        "never flushes here (kvm_handle_hva_range_no_flush), so any count is a finding",
        (
            "kvm_mmu_notifier_clear_young",
            "__mmu_notifier_clear_young",
            "kvm_mmu_notifier_test_young",
            "__mmu_notifier_test_young",
        ),
    ),
    PathRule(
        "vm_teardown",
        "arch/x86/kvm/mmu/mmu.c: kvm_arch_flush_shadow_all, from kvm_mmu_notifier_release or "
        "kvm_destroy_vm (virt/kvm/kvm_main.c): the VM or its process ends",
        ("kvm_arch_flush_shadow_all", "kvm_mmu_notifier_release", "kvm_destroy_vm"),
    ),
    PathRule(
        "mmu_notifier_unmap",
        "virt/kvm/kvm_main.c: kvm_mmu_notifier_invalidate_range_start: the primary MMU unmaps (page-out, "
        "migration, COW, KSM, munmap)",
        (
            "kvm_mmu_notifier_invalidate_range_start",
            "__mmu_notifier_invalidate_range_start",
            "mn_hlist_invalidate_range_start",
        ),
    ),
    PathRule(
        "change_pte",
        "virt/kvm/kvm_main.c: kvm_mmu_notifier_change_pte, until 6.9: KSM or COW gives a page another frame, "
        "without an invalidation where it is mapped (mm/memory.c: set_pte_at_notify)",
        ("kvm_mmu_notifier_change_pte", "__mmu_notifier_change_pte", "kvm_set_spte_gfn"),
    ),
    PathRule(
        "guest_memfd",
        "virt/kvm/guest_memfd.c: kvm_gmem_invalidate_begin (7.2: kvm_gmem_invalidate_start); "
        "virt/kvm/kvm_main.c: kvm_vm_set_mem_attributes: private memory is punched or converted",
        (
            "kvm_gmem_invalidate_begin",
            "__kvm_gmem_invalidate_begin",
            "kvm_gmem_invalidate_start",
            "__kvm_gmem_invalidate_start",
            "kvm_gmem_fallocate",
            "kvm_gmem_release",
            "kvm_gmem_error_folio",
            "kvm_vm_set_mem_attributes",
        ),
    ),
    PathRule(
        "dirty_logging_off",
        "arch/x86/kvm/mmu/mmu.c: kvm_mmu_zap_collapsible_sptes (later: kvm_mmu_recover_huge_pages), "
        "tdp_mmu.c: zap_collapsible_spte_range: huge pages return; before dirty_log, whose helper it uses",
        (
            "kvm_mmu_zap_collapsible_sptes",
            "kvm_tdp_mmu_zap_collapsible_sptes",
            "kvm_rmap_zap_collapsible_sptes",
            "zap_collapsible_spte_range",
            "kvm_mmu_recover_huge_pages",
            "kvm_tdp_mmu_recover_huge_pages",
            "recover_huge_pages_range",
        ),
    ),
    PathRule(
        "dirty_log",
        "virt/kvm/kvm_main.c: kvm_flush_remote_tlbs_memslot ('all current use cases ... are related to dirty "
        "logging': get and clear of the log, and switching it on in x86.c: kvm_mmu_slot_apply_flags), and "
        "kvm_vm_ioctl_reset_dirty_pages for the ring, which gcc inlines into kvm_vm_ioctl; "
        "mmu.c: splitting of huge pages for it",
        (
            "kvm_flush_remote_tlbs_memslot",
            "kvm_arch_flush_remote_tlbs_memslot",
            "kvm_get_dirty_log_protect",
            "kvm_clear_dirty_log_protect",
            "kvm_vm_ioctl_get_dirty_log",
            "kvm_vm_ioctl_clear_dirty_log",
            "kvm_vm_ioctl_reset_dirty_pages",
            "kvm_dirty_ring_reset",
            "kvm_arch_mmu_enable_log_dirty_pt_masked",
            "kvm_mmu_slot_remove_write_access",
            "kvm_mmu_slot_leaf_clear_dirty",
            "kvm_mmu_slot_try_split_huge_pages",
            "kvm_mmu_try_split_huge_pages",
            "kvm_shadow_mmu_try_split_huge_pages",
            "kvm_mmu_slot_apply_flags",
        ),
        # kvm_arch_commit_memory_region() ends with the flush, and is then jumped out of by who called it.
        as_caller=(
            "kvm_vm_ioctl",
            "kvm_arch_commit_memory_region",
            "kvm_commit_memory_region",
            "kvm_set_memslot",
            "__kvm_set_memory_region",
            "kvm_set_memory_region",
            "kvm_vm_ioctl_set_memory_region",
        ),
    ),
    PathRule(
        "zap",
        "arch/x86/kvm/mmu/mmu.c: KVM frees shadow pages: kvm_mmu_zap_oldest_mmu_pages and mmu_shrink_scan "
        "(their number is limited), kvm_nx_huge_page_recovery_worker, set_nx_huge_pages, and "
        "kvm_zap_gfn_range (APICv, noncoherent DMA)",
        (
            "kvm_mmu_zap_oldest_mmu_pages",
            "mmu_shrink_scan",
            "kvm_nx_huge_page_recovery_worker",
            "kvm_nx_lpage_recovery_worker",
            "set_nx_huge_pages",
            "kvm_zap_gfn_range",
            "kvm_mmu_change_mmu_pages",
        ),
    ),
    PathRule(
        "memslot",
        "arch/x86/kvm/mmu/mmu.c: kvm_arch_flush_shadow_memslot, from virt/kvm/kvm_main.c: kvm_set_memslot: a "
        "memslot is deleted or moved; after dirty_log and zap, which run inside kvm_set_memslot too",
        (
            "kvm_arch_flush_shadow_memslot",
            "kvm_mmu_invalidate_zap_pages_in_memslot",
            "kvm_invalidate_memslot",
            "kvm_set_memslot",
            "__kvm_set_memory_region",
            "__kvm_mmu_zap_all_fast_front_half",
            "kvm_mmu_zap_all_fast",
        ),
    ),
    PathRule(
        "nested",
        "arch/x86/kvm/vmx/nested.c, svm/nested.c: the guest runs guests of its own and switches or "
        "invalidates their page tables",
        (
            "free_nested",
            "handle_invept",
            "handle_invvpid",
            "nested_ept_invalidate_addr",
            "nested_vmx_vmexit",
            "nested_svm_vmexit",
            "nested_vmx_load_cr3",
            "nested_svm_load_cr3",
            "vmx_leave_nested",
            "svm_leave_nested",
            "kvm_mmu_free_guest_mode_roots",
        ),
    ),
    PathRule(
        "sync",
        "arch/x86/kvm/mmu/mmu.c: kvm_mmu_sync_roots, mmu_sync_children, kvm_mmu_invalidate_addr: shadow "
        "pages are synced with guest page tables, when the guest invalidates or a table is linked",
        (
            "mmu_sync_children",
            "kvm_mmu_sync_roots",
            "kvm_mmu_sync_prev_roots",
            "kvm_sync_page",
            "__kvm_sync_page",
            "kvm_mmu_invalidate_addr",
            "__kvm_mmu_invalidate_addr",
            "kvm_mmu_invalidate_gva",
            "paging64_invlpg",
            "paging32_invlpg",
            "ept_invlpg",
            "kvm_mmu_invlpg",
            "kvm_mmu_invpcid_gva",
        ),
    ),
    PathRule(
        "guest_pt_write",
        "arch/x86/kvm/mmu/mmu.c: kvm_mmu_track_write (an emulated write to a shadowed page table) and "
        "__kvm_mmu_unprotect_gfn_and_retry (it is no page table any more)",
        (
            "kvm_mmu_track_write",
            "kvm_mmu_pte_write",
            "__kvm_mmu_unprotect_gfn_and_retry",
            "kvm_mmu_unprotect_page",
        ),
    ),
    PathRule(
        "shadow_page",
        "arch/x86/kvm/mmu/mmu.c: __kvm_mmu_get_shadow_page: find, sync or create the shadow of a guest page "
        "table, which write-protects it (account_shadowed, page_track.c: __kvm_write_track_add_gfn)",
        (
            "__kvm_mmu_get_shadow_page",
            "kvm_mmu_find_shadow_page",
            "account_shadowed",
            "__kvm_write_track_add_gfn",
            "kvm_write_track_add_gfn",
            "kvm_slot_page_track_add_page",
        ),
    ),
    PathRule(
        "mmu_root",
        "arch/x86/kvm/mmu/mmu.c: kvm_mmu_free_roots: the last reference to a zapped root is dropped",
        ("kvm_mmu_free_roots", "kvm_mmu_load", "kvm_mmu_unload"),
    ),
    PathRule(
        "async_page_ready",
        "arch/x86/kvm/mmu/mmu.c: kvm_arch_async_page_ready, from virt/kvm/async_pf.c: the prefetch fault "
        "after an asynchronous page fault overwrites a present SPTE; before page_fault, whose code it runs",
        ("kvm_arch_async_page_ready", "kvm_check_async_pf_completion"),
    ),
    PathRule(
        "prefault",
        "arch/x86/kvm/mmu/mmu.c: kvm_arch_vcpu_pre_fault_memory: KVM_PRE_FAULT_MEMORY of user space",
        ("kvm_arch_vcpu_pre_fault_memory",),
    ),
    PathRule(
        "page_fault",
        "arch/x86/kvm/mmu/mmu.c: kvm_mmu_page_fault and the handlers it calls: a vCPU faulted "
        "(mmu_set_spte, link_shadow_page, validate_direct_spte, tdp_mmu_map_handle_target_level flush)",
        (
            "kvm_mmu_page_fault",
            "kvm_handle_page_fault",
            "kvm_mmu_do_page_fault",
            "kvm_tdp_page_fault",
            "kvm_tdp_mmu_map",
            "direct_page_fault",
            "nonpaging_page_fault",
            "paging64_page_fault",
            "paging32_page_fault",
            "ept_page_fault",
        ),
    ),
)

FLUSH_HELPERS = frozenset(
    {
        "kvm_make_all_cpus_request",
        "kvm_make_all_cpus_request_except",
        "kvm_flush_remote_tlbs",
        "kvm_flush_remote_tlbs_range",
        "kvm_flush_remote_tlbs_with_address",
        "kvm_flush_remote_tlbs_with_range",
        "kvm_arch_flush_remote_tlbs",
        "kvm_arch_flush_remote_tlbs_range",
        "kvm_flush_remote_tlbs_gfn",
        "kvm_flush_remote_tlbs_sptep",
        "kvm_mmu_remote_flush_or_zap",
        "kvm_mmu_commit_zap_page",
    }
)
"""Functions that flush on behalf of their callers, so they do not identify a path."""

TRACERS = (
    "kprobe",
    "opt_pre_handler",
    "optimized_callback",
    "trace_",
    "ftrace_",
    "event_hist_trigger",
    "event_triggers_",
    "arch_ftrace",
    "0x",
)
"""Frames of the tracer itself, which may appear inside the probed function (trampolines have no symbol)."""
