"""Async page faults: vCPUs read pages that L1 has paged out, so KVM faults them in beside the guest.

When a page has come back, ``kvm_arch_async_page_ready()`` (arch/x86/kvm/x86.c) maps it ahead of the
guest's next access. With two vCPUs waiting for the same page it does so twice, and the second time it
overwrites an SPTE that is already there: the one place where the patch under test shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from guestloop.lab.client import L2
from guestloop.vm.argv import L2Spec
from guestloop.workloads.measuring import SWAPPED_IN, Measuring

EVENT = "page_ready"
JUDGED = ("async_page_ready",)
LEAST_EVENTS = 500
PAGE_OUT_S, LAP_S = 20.0, 60.0


class Load(StrEnum):
    """What the vCPUs do; the payload in L2 knows them by these names."""

    READ_SHARED = "read-shared"
    READ_OWN = "read-own"


@dataclass(frozen=True)
class Storm:
    """How hard. Each cycle pages L2's RAM out while its vCPUs rest, and then has each of them go once
    over ``mib`` MiB; ``ram_mib`` is the guest's RAM. In a shared load no vCPU gets more than ``window``
    pages ahead.

    More vCPUs than L1 has CPUs make it likely that one of them has touched a page before the last ready
    event for it is handled, which is the case of interest (docs/method.md).
    """

    mib: int = 4
    ram_mib: int = 96
    vcpus: int = 4
    window: int = 16
    cycles: int = 2

    def guest(self, name: str) -> L2Spec:
        """The L2 that this storm needs."""
        return L2Spec(name, memory_mib=self.ram_mib, vcpus=self.vcpus)


def run(this: Measuring, l2: L2, load: Load, storm: Storm) -> None:
    """Stamp, storm, check: fills in the round."""
    this.event, this.judged = EVENT, JUDGED
    this.facts |= {"l2.kvmapf": l2.hello.get("kvmapf", "?"), "l2.start_s": f"{l2.start_seconds:.1f}"}
    l2.command(f"load name={load} mib={storm.mib} window={storm.window} seed={this.number}", until="ready")
    reads = bad = 0
    with this.counting(l2, "storm"):
        for _ in range(storm.cycles):
            l2.call("page_out", ram_mib=storm.ram_mib, timeout_s=PAGE_OUT_S)
            stopped = l2.answer("start laps=1", until="stopped", timeout_s=LAP_S)
            reads, bad = reads + int(stopped["reads"]), bad + int(stopped["bad"])
    _prove(this, reads)
    _check(this, l2, bad)


def _prove(this: Measuring, reads: int) -> None:
    this.events["reads"] = reads
    this.require(EVENT, LEAST_EVENTS)
    this.require(SWAPPED_IN, LEAST_EVENTS)
    this.require("reads", LEAST_EVENTS)


def _check(this: Measuring, l2: L2, bad_reads: int) -> None:
    """Every page must still hold its stamp, and every read during the storm must have seen it."""
    lines = l2.command("check", until="checked", timeout_s=120)
    checked = dict(word.split("=", 1) for word in lines[-1].split()[1:])
    pages, bad = int(checked["pages"]), int(checked["bad"])
    this.events["pages_checked"] = pages
    this.judge(bad == 0, f"{bad} of {pages} pages hold wrong data: {'; '.join(lines[:-1][:4])}")
    this.judge(bad_reads == 0, f"{bad_reads} reads during the storm saw wrong data")
    if pages == 0:
        this.invalidate("no page was checked")
