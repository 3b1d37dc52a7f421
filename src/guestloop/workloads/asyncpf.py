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
from guestloop.wait import Deadline, wait_for
from guestloop.workloads.measuring import SWAPPED_IN, Measuring

EVENT = "page_ready"
JUDGED = ("async_page_ready",)
LEAST_EVENTS = 500


class Load(StrEnum):
    """What the vCPUs do; the payload in L2 knows them by these names."""

    READ_SHARED = "read-shared"
    READ_OWN = "read-own"


@dataclass(frozen=True)
class Storm:
    """How long and how hard.

    It ends when ``enough`` page-ready events were seen and ``least_s`` seconds have passed, or after
    ``most_s`` seconds. L2 RAM is paged out in pieces of ``piece_kib`` with ``pause_ms`` between them.
    """

    mib: int = 64
    ram_mib: int = 128
    vcpus: int = 2
    enough: int = 800
    least_s: float = 3.0
    most_s: float = 30.0
    piece_kib: int = 2048
    pause_ms: float = 5.0

    def guest(self, name: str) -> L2Spec:
        """The L2 that this storm needs."""
        return L2Spec(name, memory_mib=self.ram_mib, vcpus=self.vcpus)


def run(this: Measuring, l2: L2, load: Load, storm: Storm) -> None:
    """Stamp, storm, check: fills in the round."""
    this.event, this.judged = EVENT, JUDGED
    this.facts |= {"l2.kvmapf": l2.hello.get("kvmapf", "?"), "l2.start_s": f"{l2.start_seconds:.1f}"}
    l2.command(f"load name={load} mib={storm.mib} seed={this.number}", until="ready")
    with this.counting(l2, "storm"):
        stopped = _blow(l2, storm, seed=this.number)
    _prove(this, int(stopped["reads"]))
    _check(this, l2, int(stopped["bad"]))


def _blow(l2: L2, storm: Storm, seed: int) -> dict[str, str]:
    """Let the vCPUs read while L1 pages their memory out, until enough has happened."""
    l2.answer("start", until="running")
    l2.call(
        "start_pageout",
        ram_mib=storm.ram_mib,
        piece_kib=storm.piece_kib,
        pause_ms=storm.pause_ms,
        seed=seed,
    )
    least, most = Deadline(storm.least_s), Deadline(storm.most_s)

    def finished() -> bool | None:
        if most.passed:
            return True  # too few events is for the proof to say, not for a deadline
        seen = l2.l1.call("trace.hits", event="kvm_async_pf_ready")
        return True if least.passed and seen >= storm.enough else None

    wait_for("page-ready events", finished, storm.most_s + 10, interval=0.5)
    l2.call("stop_pageout")
    return l2.answer("stop", until="stopped")


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
