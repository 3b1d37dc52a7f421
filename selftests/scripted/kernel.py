# SPDX-License-Identifier: GPL-2.0-or-later
"""What the scripted kernel of L1 counts: KVM's statistics, call paths, tracepoints, swapping."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

from guestloop.agent.trace import Trace

REQUESTS, FLUSHES = "remote_tlb_flush_requests", "remote_tlb_flush"
VCPU_COUNTERS = ("exits", "pf_taken", "pf_fixed", "tlb_flush")

# A call stack for each path that a script may take, innermost first, as 6.12 prints it.
STACKS = {
    "async_page_ready": ("mmu_set_spte", "direct_map", "kvm_arch_async_page_ready"),
    "clear_flush_young": ("kvm_mmu_notifier_clear_flush_young", "folio_referenced_one"),
    "dirty_log": ("kvm_flush_remote_tlbs_memslot", "kvm_vm_ioctl_clear_dirty_log"),
    "dirty_logging_off": ("zap_collapsible_spte_range", "kvm_tdp_mmu_zap_collapsible_sptes"),
    "page_fault": ("mmu_set_spte", "kvm_tdp_mmu_page_fault", "kvm_mmu_page_fault"),
    "memslot": ("kvm_mmu_zap_all_fast", "kvm_arch_flush_shadow_memslot", "kvm_set_memslot"),
    "other:some_new_caller": ("some_new_caller", "vcpu_run"),
}
FREE_ROOTS = 0x327
"""KVM_REQ_MMU_FREE_OBSOLETE_ROOTS."""
TRACEPOINTS = (
    "kvm_try_async_get_page",
    "kvm_async_pf_not_present",
    "kvm_async_pf_ready",
    "kvm_async_pf_completed",
    "kvm_age_hva",
    "kvm_test_age_hva",
    "kvm_dirty_ring_push",
    "kvm_dirty_ring_exit",
    "kvm_dirty_ring_reset",
    "log_sync",
    "root_load",
    "young",
)


def render_histogram(entries: Iterable[tuple[str, int]], dropped: int = 0) -> str:
    """As hist_trigger_show() of kernel/trace/trace_events_hist.c prints it, for (key, hits)."""
    rows = list(entries)
    body = "".join(f"{{ {key} }} hitcount: {hits:10}\n" for key, hits in rows)
    totals = f"    Hits: {sum(hits for _, hits in rows)}\n    Entries: {len(rows)}\n    Dropped: {dropped}\n"
    return f"# event histogram\n#\n# trigger info: hist:keys=x [active]\n#\n\n{body}\nTotals:\n{totals}"


def render_stacks(requests: Mapping[tuple[str, int], int], dropped: int = 0) -> str:
    """The histogram of requests to all vCPUs, for hits by path and number of the request."""

    def key(path: str, request: int) -> str:
        frames = ("kvm_make_all_cpus_request", *STACKS[path])
        lines = "".join(f"         {frame}+0x5/0xb0 [kvm]\n" for frame in frames)
        return f"common_stacktrace:\n{lines}, req: {request:10}"

    return render_histogram(((key(*asked), hits) for asked, hits in requests.items()), dropped)


def render_hits(hits: int) -> str:
    """The histogram of a tracepoint that is counted by CPU."""
    return render_histogram([("common_cpu:          0", hits)])


def render_msr_writes(writes: Iterable[tuple[int, int, int]], dropped: int = 0) -> str:
    """The histogram of kvm_msr, for (thread, register, value)."""
    rows = (
        (f"common_pid: {thread:10}, ecx: {register:10}, data: {value:10}", 1)
        for thread, register, value in writes
    )
    return render_histogram(rows, dropped)


class Kernel:
    """Counts, as KVM and the tracing of one boot of L1 do."""

    def __init__(self, request: int) -> None:
        self._request, self._lock = request, threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._hits: Counter[str] = Counter(dict.fromkeys(TRACEPOINTS, 0))
        self._guests: defaultdict[str, Counter[str]] = defaultdict(
            lambda: Counter(dict.fromkeys((REQUESTS, FLUSHES, *VCPU_COUNTERS), 0))
        )
        self.vmstat: Counter[str] = Counter(pswpin=11, pswpout=12, thp_split_page=13, thp_swpout=14)
        self.msr_writes: list[tuple[int, int, int]] = []
        self.dropped = 0

    def flush(self, guest: str, path: str, count: int) -> None:
        """A call path asked so many times for the TLBs of a guest's vCPUs to be flushed."""
        with self._lock:
            self._requests[path, self._request] += count
            self._guests[guest][REQUESTS] += count
            self._guests[guest][FLUSHES] += count // 2

    def reload_roots(self, count: int) -> None:
        """A memslot went so many times: all vCPUs free their roots, and one loads a new one."""
        with self._lock:
            self._requests["memslot", FREE_ROOTS] += count
        self.hit("root_load", count)

    def count(self, guest: str, counter: str, count: int) -> None:
        """KVM counted something, for no reason that tracing has seen."""
        with self._lock:
            self._guests[guest][counter] += count

    def hit(self, tracepoint: str, count: int) -> None:
        """A tracepoint was hit so many times."""
        with self._lock:
            self._hits[tracepoint] += count

    def counters(self, guest: str) -> dict[str, int]:
        """KVM's statistics of a guest."""
        with self._lock:
            return dict(self._guests[guest])

    def histograms(self) -> dict[str, str]:
        """As agent/trace.py: Trace.read."""
        with self._lock:
            return {
                "request": render_stacks(self._requests, self.dropped),
                "kvm_msr": render_msr_writes(self.msr_writes),
                **{name: render_hits(hits) for name, hits in self._hits.items()},
            }


class ScriptedTrace(Trace):
    """The tracing of a scripted kernel."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self._kernel = kernel

    def arm(self, functions: Collection[str]) -> list[str]:
        return list(TRACEPOINTS)

    def read(self) -> dict[str, str]:
        return self._kernel.histograms()

    def disarm(self) -> None:
        """There is nothing to remove."""
