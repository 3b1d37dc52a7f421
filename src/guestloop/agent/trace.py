# SPDX-License-Identifier: GPL-2.0-or-later
"""Counting in L1's tracefs: requests to all vCPUs by call path, and events of KVM.

``kvm_flush_remote_tlbs`` is inlined into its callers, so the probe sits on the function that makes a request
to all vCPUs (virt/kvm/kvm_main.c). Where kernels differ, what this one has is found out by asking it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from guestloop.ground.errors import GuestError

TRACEFS = Path("/sys/kernel/tracing")
PROBE = "guestloop/request"
# %si holds the second argument on x86-64. At function entry the frame-pointer unwinder would
# lose the direct caller; 4 bytes on, the frame is there. Where no instruction begins there, the kernel
# says EILSEQ and the entry has to do.
PROBE_OFFSETS = ("+4", "")
PROBE_DEFINITION = "p:{probe} kvm:{function}{offset} req=%si:u32"
# Every request passes through the first of these that the kernel has; the request is its second argument.
# Up to 6.9 kvm_make_all_cpus_request() only calls the other one (82e9c84d8712), and is inlined where KVM
# itself asks for a flush.
REQUEST_FUNCTIONS = ("kvm_make_all_cpus_request_except", "kvm_make_all_cpus_request")
# What the stack is called as a key of a histogram: since 6.3, and before.
STACK_KEYS = ("common_stacktrace", "stacktrace")
STACK_TRIGGER = "hist:keys={key},req:size=8192"
COUNT_TRIGGER = "hist:keys=common_cpu"
KVM_EVENTS = (
    "kvm_try_async_get_page",
    "kvm_async_pf_not_present",
    "kvm_async_pf_ready",
    "kvm_async_pf_completed",
    "kvm_age_hva",
    "kvm_test_age_hva",
    "kvm_dirty_ring_push",
    "kvm_dirty_ring_exit",
    "kvm_dirty_ring_reset",
)
# Where the guest has KVM write into its memory: kvmclock, steal time and the like
# (arch/x86/include/uapi/asm/kvm_para.h: MSR_KVM_WALL_CLOCK_NEW to MSR_KVM_ASYNC_PF_INT).
MSR_TRIGGER = "hist:keys=common_pid,ecx,data if write==1 && ecx>=0x4b564d00 && ecx<=0x4b564d06"
# Called for each memory slot whose dirty log user space gets or clears (arch/x86/kvm/x86.c).
LOG_PROBE = "guestloop/log_sync"
LOG_DEFINITION = f"p:{LOG_PROBE} kvm:kvm_arch_sync_dirty_log"
# A page that is read from swap while the fault waits for it, so that KVM need not do without it meanwhile.
# Kernels before 6.6 do that where they do not read ahead (mm/swap_state.c: read_swap_cache_async, do_poll);
# newer ones have no such function, or never say true (mm/page_io.c).
WAIT_PROBE = "guestloop/swap_wait"
WAIT_DEFINITION = f"p:{WAIT_PROBE} swap_readpage waits=%si:u8"
WAIT_TRIGGER = f"{COUNT_TRIGGER} if waits==1"
# A vCPU gets a new root of its page tables, for which it flushes its own TLB without counting that in its
# statistics (arch/x86/kvm/mmu/mmu.c). KVM counts neither.
ROOT_PROBE = "guestloop/root_load"
ROOT_DEFINITION = f"p:{ROOT_PROBE} kvm:kvm_mmu_load"
# A page that reclaim asks about turns out to be young, which older kernels flush for: true is returned then
# (virt/kvm/kvm_main.c).
YOUNG_PROBE = "guestloop/young"
YOUNG_DEFINITION = f"r:{YOUNG_PROBE} kvm:kvm_mmu_notifier_clear_flush_young young=$retval:u8"
YOUNG_TRIGGER = f"{COUNT_TRIGGER} if young!=0"
FURTHER_PROBES = {
    LOG_PROBE: (LOG_DEFINITION, COUNT_TRIGGER),
    WAIT_PROBE: (WAIT_DEFINITION, WAIT_TRIGGER),
    ROOT_PROBE: (ROOT_DEFINITION, COUNT_TRIGGER),
    YOUNG_PROBE: (YOUNG_DEFINITION, YOUNG_TRIGGER),
}


def write_control(path: Path, text: str) -> None:
    """Append to a tracefs control file; these refuse to be opened for anything that seeks."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, text.encode() + b"\n")
    except OSError as error:
        raise GuestError(f"tracefs refused {text!r} in {path.name}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def write_accepted(path: Path, texts: Sequence[str]) -> str:
    """Write the first of these that the kernel accepts, and return it.

    Raises GuestError with all refusals.
    """
    refusals: list[str] = []
    for text in texts:
        try:
            write_control(path, text)
        except GuestError as error:
            refusals.append(error.first_line)
        else:
            return text
    raise GuestError("; ".join(refusals))


def request_function(functions: Collection[str]) -> str:
    """The function of this KVM that every request to all vCPUs passes through.

    Raises GuestError when it has none of those that are known.
    """
    for name in REQUEST_FUNCTIONS:
        if name in functions:
            return name
    raise GuestError(
        f"/proc/kallsyms shows neither {' nor '.join(REQUEST_FUNCTIONS)} in KVM: flushes cannot be counted",
        hint="is it a kernel older than 6.1, or one without CONFIG_KALLSYMS?",
    )


class Tracing:
    """Service: what is counted."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def read(self) -> dict[str, str]:
        """See Trace.read."""
        return self._trace.read()


class Trace:
    """Histograms that count from the loading of KVM to its unloading.

    They are never switched while an L2 runs: that patches kernel text, which is slow for everyone. What
    happened in an interval is the difference of two readings.
    """

    def __init__(self, root: Path = TRACEFS) -> None:
        self._root = root
        self._armed: list[tuple[str, str]] = []

    def arm(self, functions: Collection[str]) -> list[str]:
        """Start counting from zero; returns the events of KVM that this kernel has.

        ``functions`` are those of the KVM under test (symbols.py). The module must be loaded. Triggers must
        be gone before KVM can be unloaded, see ``disarm``. Raises GuestError when requests cannot be counted
        by call stack.
        """
        self._define_probe(request_function(functions))
        self._count_stacks()
        self._trigger("kvm/kvm_async_pf_ready", COUNT_TRIGGER)
        if (self._root / "events/kvm/kvm_msr").exists():
            self._trigger("kvm/kvm_msr", MSR_TRIGGER)
        for probe, (definition, trigger) in FURTHER_PROBES.items():
            with suppress(GuestError):  # a kernel that has no such function has no such events
                write_control(self._root / "kprobe_events", definition)
            if (self._root / "events" / probe).exists():
                self._trigger(probe, trigger)
        counted = ["kvm_async_pf_ready"]
        for event in KVM_EVENTS:
            if event not in counted and (self._root / "events/kvm" / event).exists():
                self._trigger(f"kvm/{event}", COUNT_TRIGGER)
                counted.append(event)
        return counted

    def _define_probe(self, function: str) -> None:
        definitions = [
            PROBE_DEFINITION.format(probe=PROBE, function=function, offset=offset) for offset in PROBE_OFFSETS
        ]
        write_accepted(self._root / "kprobe_events", definitions)

    def _count_stacks(self) -> None:
        triggers = [STACK_TRIGGER.format(key=key) for key in STACK_KEYS]
        accepted = write_accepted(self._root / "events" / PROBE / "trigger", triggers)
        self._armed.append((PROBE, accepted))

    def read(self) -> dict[str, str]:
        """The histograms as the kernel prints them: ``request``, and one per event of KVM."""
        return {
            event.rpartition("/")[2]: (self._root / "events" / event / "hist").read_text()
            for event, _ in self._armed
        }

    def disarm(self) -> None:
        """Remove triggers, then the probe: with a trigger left, neither probe nor module can go."""
        for event, trigger in reversed(self._armed):
            with suppress(FileNotFoundError):
                write_control(self._root / "events" / event / "trigger", f"!{trigger}")
        self._armed.clear()
        for probe in (PROBE, *FURTHER_PROBES):
            if (self._root / "events" / probe).exists():
                write_control(self._root / "kprobe_events", f"-:{probe}")

    def _trigger(self, event: str, trigger: str) -> None:
        write_control(self._root / "events" / event / "trigger", trigger)
        self._armed.append((event, trigger))
