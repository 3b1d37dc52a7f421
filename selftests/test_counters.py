# SPDX-License-Identifier: GPL-2.0-or-later
"""Counter differences, the histogram parser and the table of call paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestloop.counters import (
    RULES,
    Histogram,
    StackCount,
    attribute,
    attribute_others,
    diff,
    inconsistency,
    parse_histogram,
    path_of,
    render_stacks,
    subtract,
)
from guestloop.counters.requests import request_name
from guestloop.ground.errors import LabError

DATA = Path(__file__).parent / "data"
TLB_FLUSH = 768

MAKE = "kvm_make_all_cpus_request"
EXCEPT = "kvm_make_all_cpus_request_except"
RANGE = [MAKE, "kvm_flush_remote_tlbs_range"]
MEMSLOT = [MAKE, "kvm_flush_remote_tlbs_memslot"]
FLUSH = [MAKE, "kvm_flush_remote_tlbs"]
COMMIT = [*FLUSH, "kvm_mmu_commit_zap_page.part.0"]
IOCTL = ["__x64_sys_ioctl", "do_syscall_64", "entry_SYSCALL_64_after_hwframe"]
VCPU = ["vcpu_run", "kvm_arch_vcpu_ioctl_run", "kvm_vcpu_ioctl", *IOCTL]
FAULT = ["paging64_page_fault", "kvm_mmu_do_page_fault", "kvm_mmu_page_fault", "npf_interception", *VCPU]
READY = ["kvm_mmu_do_page_fault", "kvm_arch_async_page_ready", "kvm_check_async_pf_completion", *VCPU]
RECLAIM = [
    "folio_referenced_one",
    "rmap_walk_anon",
    "folio_referenced",
    "shrink_active_list",
    "shrink_lruvec",
]

# Callers as objdump shows them in a 6.12.117 build by gcc 12 with frame pointers, innermost first.
STACKS = {
    "clear_flush_young": [
        [MAKE, "kvm_mmu_notifier_clear_flush_young", "__mmu_notifier_clear_flush_young", *RECLAIM],
        # the caller of the probed function is missing when the probe is a breakpoint
        [MAKE, "__mmu_notifier_clear_flush_young", *RECLAIM],
    ],
    "clear_young": [[MAKE, "kvm_mmu_notifier_clear_young", "__mmu_notifier_clear_young", "damon_va_mkold"]],
    "vm_teardown": [
        [*COMMIT, "kvm_arch_flush_shadow_all", "kvm_mmu_notifier_release"],
    ],
    "mmu_notifier_unmap": [
        [MAKE, "kvm_mmu_notifier_invalidate_range_start", "__mmu_notifier_invalidate_range_start"],
        # a vCPU's fault reclaims a page of its own VM: the notifier asked
        [MAKE, "kvm_mmu_notifier_invalidate_range_start", "try_to_unmap_one", "kvm_faultin_pfn", *FAULT],
        [*FLUSH, "tdp_mmu_zap_leafs", "kvm_tdp_mmu_unmap_gfn_range", "kvm_mmu_unmap_gfn_range",
         "kvm_mmu_notifier_invalidate_range_start"],
    ],
    "change_pte": [
        [*FLUSH, "kvm_set_spte_gfn", "kvm_mmu_notifier_change_pte", "__mmu_notifier_change_pte",
         "wp_page_copy"],
    ],
    "guest_memfd": [
        [*FLUSH, "__kvm_gmem_invalidate_start", "kvm_gmem_punch_hole"],
        [*FLUSH, "kvm_gmem_invalidate_begin", "kvm_gmem_fallocate", "vfs_fallocate"],
    ],
    "dirty_logging_off": [
        [*MEMSLOT, "kvm_mmu_zap_collapsible_sptes", "kvm_arch_commit_memory_region", "kvm_set_memslot",
         "__kvm_set_memory_region", "kvm_vm_ioctl", *IOCTL],
        [*RANGE, "zap_collapsible_spte_range", "kvm_tdp_mmu_zap_collapsible_sptes",
         "kvm_mmu_zap_collapsible_sptes", "kvm_arch_commit_memory_region", "kvm_set_memslot"],
    ],
    "dirty_log": [
        [*MEMSLOT, "kvm_vm_ioctl", *IOCTL],
        [*MEMSLOT, "kvm_arch_commit_memory_region", "kvm_set_memslot", "__kvm_set_memory_region"],
        # without frame pointers: kvm_arch_commit_memory_region() and the flush helpers were jumped out of
        [*FLUSH, "kvm_set_memslot", "kvm_vm_ioctl", *IOCTL],
        # up to 6.5
        [EXCEPT, "kvm_arch_flush_remote_tlbs_memslot", "kvm_set_memslot", "kvm_vm_ioctl"],
        [MAKE, "kvm_vm_ioctl", *IOCTL],  # the dirty ring's reset, inlined
        [*FLUSH, "kvm_vm_ioctl_reset_dirty_pages", "kvm_vm_ioctl", *IOCTL],
        [*FLUSH, "__link_shadow_page.constprop.0", "kvm_shadow_mmu_try_split_huge_pages",
         "kvm_mmu_slot_try_split_huge_pages", "kvm_arch_commit_memory_region", "kvm_set_memslot"],
    ],
    "zap": [
        [*COMMIT, "kvm_mmu_zap_oldest_mmu_pages", *FAULT],
        [*COMMIT, "kvm_nx_huge_page_recovery_worker", "kthread"],
        [*COMMIT, "kvm_nx_lpage_recovery_worker", "kthread"],
        [*RANGE, "kvm_zap_gfn_range", "__kvm_set_or_clear_apicv_inhibit.part.0", *VCPU],
        [*COMMIT, "kvm_mmu_zap_oldest_mmu_pages", "kvm_mmu_change_mmu_pages",
         "kvm_arch_commit_memory_region", "kvm_set_memslot"],
    ],
    "memslot": [
        [*COMMIT, "__kvm_mmu_zap_all_fast_front_half",
         "kvm_arch_flush_shadow_memslot", "kvm_set_memslot", "__kvm_set_memory_region", "kvm_vm_ioctl"],
        [*COMMIT, "kvm_mmu_invalidate_zap_pages_in_memslot", "kvm_page_track_flush_slot", "kvm_set_memslot"],
        [*FLUSH, "kvm_arch_flush_shadow_memslot", "kvm_set_memslot", "kvm_vm_ioctl"],
    ],
    "nested": [
        [*COMMIT, "kvm_mmu_free_roots", "handle_invept", "vmx_handle_exit", *VCPU],
        [*RANGE, "kvm_flush_remote_tlbs_sptep", "__kvm_mmu_invalidate_addr", "kvm_mmu_invalidate_addr",
         "nested_ept_invalidate_addr", *VCPU],
    ],
    "sync": [
        [*FLUSH, "mmu_sync_children", "kvm_mmu_sync_roots", *VCPU],
        [*COMMIT, "mmu_sync_children", *FAULT],
        [*FLUSH, "mmu_sync_children", "kvm_mmu_sync_roots", "kvm_mmu_load", *READY[1:]],
        [*RANGE, "kvm_flush_remote_tlbs_sptep", "__kvm_mmu_invalidate_addr", "kvm_mmu_invlpg", *VCPU],
        [EXCEPT, "kvm_flush_remote_tlbs_with_address", "paging64_invlpg", "kvm_mmu_invalidate_gva", *VCPU],
        [EXCEPT, "kvm_flush_remote_tlbs_with_address", "mmu_set_spte", "paging64_invlpg"],
    ],
    "guest_pt_write": [
        [*FLUSH, "kvm_mmu_track_write", "emulator_write_phys", "kvm_mmu_page_fault", *VCPU],
        [*COMMIT, "kvm_mmu_pte_write", "kvm_page_track_write", "emulator_write_phys", *VCPU],
        [*COMMIT, "kvm_mmu_unprotect_page", "x86_emulate_instruction", *VCPU],
        [*COMMIT, "__kvm_mmu_unprotect_gfn_and_retry", "kvm_mmu_page_fault"],
    ],
    "shadow_page": [
        [*RANGE, "__kvm_mmu_get_shadow_page", "kvm_mmu_get_child_sp", *FAULT],
        [*FLUSH, "kvm_slot_page_track_add_page", "kvm_mmu_get_page", "mmu_alloc_root", "kvm_mmu_load"],
        [*FLUSH, "__kvm_write_track_add_gfn", "__kvm_mmu_get_shadow_page", "mmu_alloc_root", "kvm_mmu_load"],
    ],
    "mmu_root": [
        [*COMMIT, "kvm_mmu_free_roots", "kvm_mmu_free_obsolete_roots", *VCPU],
    ],
    "async_page_ready": [
        [*RANGE, "mmu_set_spte", "paging64_page_fault", *READY],
        [*RANGE, "mmu_set_spte", "direct_page_fault", "kvm_tdp_page_fault", *READY],
        [*RANGE, "mmu_set_spte.isra.0", "paging64_fetch.constprop.0", "paging64_page_fault", *READY],
    ],
    "prefault": [
        [*RANGE, "kvm_tdp_mmu_map", "kvm_tdp_page_fault", "kvm_arch_vcpu_pre_fault_memory", "kvm_vcpu_ioctl"],
    ],
    "page_fault": [
        [*RANGE, "mmu_set_spte", *FAULT],
        [*RANGE, "kvm_tdp_mmu_map", "kvm_tdp_page_fault", *FAULT[1:]],
        [*RANGE, "kvm_flush_remote_tlbs_sptep", "validate_direct_spte", *FAULT],
        [*FLUSH, "__link_shadow_page.constprop.0", *FAULT],
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "stack"), [(path, stack) for path, all_ in STACKS.items() for stack in all_]
)
def test_every_stack_gets_its_path(path: str, stack: list[str]) -> None:
    assert path_of(tuple(stack)) == path


def test_every_rule_has_a_stack_and_a_source() -> None:
    assert [rule.path for rule in RULES] == list(STACKS)
    assert all(".c: " in rule.source for rule in RULES)


@pytest.mark.parametrize(
    ("stack", "path"),
    [
        ([*FLUSH, "brand_new_function.isra.0", "kthread"], "other:brand_new_function"),
        (
            ["kprobe_ftrace_handler", "0xffffffffc0a01234", MAKE, "brand_new_function"],
            "other:brand_new_function",
        ),
        ([MAKE], "other:unknown"),
        ([], "other:unknown"),
        # kvm_vm_ioctl counts only as the one that asked
        ([*FLUSH, "brand_new_function", "kvm_vm_ioctl", *IOCTL], "other:brand_new_function"),
    ],
)
def test_unknown_stacks_are_named_not_dropped(stack: list[str], path: str) -> None:
    assert path_of(tuple(stack)) == path


def test_recorded_histogram() -> None:
    histogram = parse_histogram((DATA / "histogram-6.12.txt").read_text())
    assert (histogram.hits, histogram.dropped, len(histogram.entries)) == (1233, 0, 4)
    fault = histogram.entries[1]
    assert fault.frames[:3] == ("kvm_make_all_cpus_request", "kvm_flush_remote_tlbs_range", "mmu_set_spte")
    assert len(fault.frames) == 13
    assert (fault.keys, fault.hits) == ({"req": TLB_FLUSH}, 7)
    # request 800 is no flush
    assert attribute(histogram, TLB_FLUSH) == {
        "async_page_ready": 1092,
        "mmu_notifier_unmap": 131,
        "page_fault": 7,
    }
    assert attribute_others(histogram, TLB_FLUSH) == {"get_nested_state_pages/memslot": 3}


def test_recorded_storm() -> None:
    """Read in an L1 after a storm of read-shared in shadow mode on the unpatched kernel."""
    histogram = parse_histogram((DATA / "histogram-6.12-shadow-storm.txt").read_text())
    paths = attribute(histogram, TLB_FLUSH)
    assert sum(paths.values()) == histogram.hits == 4193
    assert paths["async_page_ready"] > 1000 and paths["mmu_notifier_unmap"] > 2000
    assert not [path for path in paths if path.startswith("other:")]


def test_subtract_gives_the_interval() -> None:
    def histogram(hits: int, dropped: int, *entries: StackCount) -> Histogram:
        return Histogram(entries, hits, dropped)

    def entry(frames: tuple[str, ...], hits: int) -> StackCount:
        return StackCount(frames, {"req": TLB_FLUSH}, hits)

    early = histogram(7, 1, entry(("a", "b"), 3), entry(("c",), 4))
    # one stack appears twice where the offsets of its frames differ
    late = histogram(12, 1, entry(("a", "b"), 3), entry(("a", "b"), 2), entry(("c",), 4), entry(("d",), 3))
    moved = subtract(late, early)
    assert moved == histogram(5, 0, entry(("a", "b"), 2), entry(("d",), 3))
    assert render_stacks(moved, TLB_FLUSH).splitlines()[:2] == ["3 other:d", "    d"]
    with pytest.raises(LabError, match="vanished"):
        subtract(early, late)


def histogram_text(*entries: str, dropped: int = 0, hits: int = 1) -> str:
    head = "# event histogram\n#\n# trigger info: hist:keys=req [active]\n#\n\n"
    foot = f"\nTotals:\n    Hits: {hits}\n    Entries: {len(entries)}\n    Dropped: {dropped}\n"
    return head + "".join(entry + "\n" for entry in entries) + foot


FRAMES = "         a+0x1/0x2 [kvm]\n         0xffffffffc0a01234\n"


@pytest.mark.parametrize(
    "key",
    [
        f"common_stacktrace:\n{FRAMES}, req:        768",
        f"stacktrace:\n{FRAMES}, req:        768",  # before 6.3
        f"req:        768, common_stacktrace:\n{FRAMES}",
        # a stack in a field of its own: no colon and no line of its own (hist_trigger_print_key)
        f"stack.stacktrace{FRAMES}, req:        768",
        f"common_stacktrace.stacktrace:\n{FRAMES}, req:        768",
    ],
)
def test_spellings_of_a_stack(key: str) -> None:
    (found,) = parse_histogram(histogram_text(f"{{ {key}}} hitcount:          5")).entries
    assert found.frames == ("a", "0xffffffffc0a01234")
    assert (found.keys, found.hits) == ({"req": 768}, 5)


def test_empty_histogram_and_drops() -> None:
    histogram = parse_histogram(histogram_text(dropped=4, hits=0))
    assert (histogram.entries, histogram.dropped) == ((), 4)
    assert attribute(histogram, TLB_FLUSH) == {}


def test_large_counts_overflow_their_columns() -> None:
    entry = "{ common_stacktrace:\n         a+0x1/0x2\n, req:        768} hitcount: 123456789012"
    assert parse_histogram(histogram_text(entry)).entries[0].hits == 123456789012


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "exactly one trigger"),
        (histogram_text() + "\n\n" + histogram_text(), "exactly one trigger"),
        (histogram_text().replace("Dropped", "Lost"), "totals are missing"),
        (histogram_text().partition("Totals")[0], "totals are missing"),
        (histogram_text("garbage"), "the totals say 1 entries, 0 could be parsed"),
    ],
)
def test_broken_histograms_are_refused(text: str, says: str) -> None:
    with pytest.raises(LabError, match=says):
        parse_histogram(text)


def test_attribution_needs_the_request() -> None:
    text = histogram_text("{ common_stacktrace:\n         a+0x1/0x2\n} hitcount:          5")
    with pytest.raises(LabError, match="expected the key 'req'"):
        attribute(parse_histogram(text), TLB_FLUSH)


@pytest.mark.parametrize(
    ("total", "counter", "consistent"),
    [
        (0, 0, True),
        (1000, 1000, True),
        (990, 1000, True),
        (989, 1000, False),
        (1050, 1000, True),  # KVM's increment is not atomic
        (1051, 1000, False),
        (25118, 24803, True),
        (2, 0, True),  # one request in flight at each end
        (3, 0, False),
        (0, 3, False),
        (7, 9, True),
        (98, 101, False),
    ],
)
def test_paths_may_lack_one_percent_and_exceed_by_five(total: int, counter: int, consistent: bool) -> None:
    reason = inconsistency({"zap": total - total // 2, "sync": total // 2}, counter)
    assert (reason == "") is consistent
    if reason:
        slack = "1 % fewer" if total < counter else "5 % more"
        wanted = f"paths account for {total} flush requests, KVM counted {counter} ({slack} allowed)"
        assert reason == wanted


@pytest.mark.parametrize(
    ("number", "name"),
    [
        # as objdump shows them in 6.1.0-50-cloud-amd64, 6.12.117 and 7.2.13+deb14-cloud-amd64
        (0x300, "tlb_flush"),
        (0x301, "vm_dead"),  # kvm_vm_dead()
        (0xC, "clock_update"),  # kvm_xen_hvm_config()
        (0x12, "pmu"),  # kvm_vm_ioctl_set_pmu_event_filter()
        (0x15, "masterclock_update"),  # kvm_xen_shared_info_init()
        (0x316, "mclock_inprogress"),  # kvm_arch_vcpu_ioctl_run(), inlined
        (0x317, "scan_ioapic"),  # kvm_make_scan_ioapic_request()
        (0x319, "apic_page_reload"),  # kvm_unmap_gfn_range()
        (0x321, "apicv_update"),  # __kvm_set_or_clear_apicv_inhibit()
        (0x323, "tlb_flush_guest"),  # 6.1: kvm_hv_flush_tlb()
        (0x25, "recalc_intercepts"),  # kvm_vm_ioctl_set_msr_filter()
        (0x326, "update_cpu_dirty_logging"),  # kvm_arch_commit_memory_region()
        (0x327, "mmu_free_obsolete_roots"),  # kvm_mmu_zap_all_fast(), __kvm_mmu_prepare_zap_page()
        (0x328, "hv_tlb_flush"),  # 7.2: kvm_hv_flush_tlb()
        (0x700, "outside_guest_mode"),  # 7.2: make_spte(); its number is that of a flush
        (0x32B, "request 43"),
        (4, "request 4"),
    ],
)
def test_requests_have_the_names_that_kvm_gives_them(number: int, name: str) -> None:
    assert request_name(number) == name


def test_drops_are_inconsistent_whatever_the_sum() -> None:
    assert "3 requests were dropped" in inconsistency({"zap": 10}, 10, dropped=3)


def test_diff() -> None:
    assert diff({"a": 1, "b": 5}, {"a": 4, "b": 5, "new": 2}) == {"a": 3, "b": 0, "new": 2}
    with pytest.raises(LabError, match="vanished between two readings: b"):
        diff({"a": 1, "b": 5}, {"a": 4})
    with pytest.raises(LabError, match="backwards: a 4 -> 1"):
        diff({"a": 4}, {"a": 1})
