# SPDX-License-Identifier: GPL-2.0-or-later
"""Readings: everything that is counted in an L1 at one moment, and the difference of two of them.

A counting interval is bounded by two readings while the guest's load is at rest, so that the counters and
the call-path histogram are of the same events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guestloop import counters
from guestloop.counters import Histogram
from guestloop.results.records import Phase

if TYPE_CHECKING:
    from guestloop.lab.client import L2

SWAP_WAITS = "swap_reads_waited_for"
ROOT_LOADS = "root_loads"
YOUNG_PAGES = "young_pages"
# What the tracepoints of KVM are called in a result (arch/x86/include/asm/trace/kvm.h, trace/events/kvm.h).
EVENT_NAMES = {
    "kvm_async_pf_ready": "page_ready",
    "kvm_async_pf_not_present": "page_not_present",
    "kvm_async_pf_completed": "page_completed",
    "kvm_try_async_get_page": "async_get_page",
    "kvm_age_hva": "age_hva",
    "kvm_test_age_hva": "test_age_hva",
    # not of KVM, see agent/trace.py
    "swap_wait": SWAP_WAITS,
    "root_load": ROOT_LOADS,
    "young": YOUNG_PAGES,
}
SWAPPED_IN = "pages_swapped_in"
SWAPPED_OUT = "pages_swapped_out"
# Of huge pages (mm/page_io.c: count_swpout_vm_event, mm/huge_memory.c): newer kernels swap them out whole,
# others only after splitting them, and which they do depends on the swap space too.
SWAPPED_WHOLE = "huge_pages_swapped_whole"
SPLIT = "huge_pages_split"
VMSTAT_NAMES = {
    SWAPPED_IN: "pswpin",
    SWAPPED_OUT: "pswpout",
    SWAPPED_WHOLE: "thp_swpout",
    SPLIT: "thp_split_page",
}


@dataclass(frozen=True)
class Reading:
    """``histograms`` and ``vmstat`` are of the whole L1, ``counters`` of the guests that are measured."""

    counters: Mapping[str, int]
    vmstat: Mapping[str, int]
    histograms: Mapping[str, str]

    def requests_since(self, before: Reading) -> Histogram:
        """Requests to all vCPUs by call stack since an earlier reading."""
        early, late = (counters.parse_histogram(item.histograms["request"]) for item in (before, self))
        return counters.subtract(late, early)

    def since(self, before: Reading, seconds: float, request: int) -> tuple[Phase, Histogram]:
        """What was counted since an earlier reading, and the call stacks behind its requests to all vCPUs.

        ``request`` is the number of KVM_REQ_TLB_FLUSH in this kernel.
        """
        requests = self.requests_since(before)
        moved = counters.diff(before.counters, self.counters)
        paths, others = counters.attribute(requests, request), counters.attribute_others(requests, request)
        return Phase(seconds, moved, paths, others), requests

    def hits_since(self, before: Reading, tracepoint: str) -> int:
        """How often a tracepoint was hit since then; 0 for one that this kernel does not have."""
        if tracepoint not in self.histograms:
            return 0
        early, late = (counters.parse_histogram(item.histograms[tracepoint]).hits for item in (before, self))
        return late - early

    def events_since(self, before: Reading) -> dict[str, int]:
        """Events of KVM and pages swapped since an earlier reading; none that this kernel does not count."""
        events = {
            event: self.hits_since(before, tracepoint)
            for tracepoint, event in EVENT_NAMES.items()
            if tracepoint in self.histograms
        }
        swapped = {
            event: self.vmstat[stat] - before.vmstat[stat]
            for event, stat in VMSTAT_NAMES.items()
            if stat in self.vmstat
        }
        return events | swapped


def take_reading(l2: L2) -> Reading:
    """Read L1 and one of its guests; the histograms last, right after the counters that they must match."""
    vmstat = l2.l1.agent.memory.read_vmstat()
    return Reading(counters=l2.counters(), vmstat=vmstat, histograms=l2.l1.agent.trace.read())
