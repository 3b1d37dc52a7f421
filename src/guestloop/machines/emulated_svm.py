# SPDX-License-Identifier: GPL-2.0-or-later
"""L1 in QEMU's emulator (TCG), where hardware with nested KVM is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestloop.machines.host import Host, Vendor
from guestloop.machines.kind import Availability, MachineKind, Qemu
from guestloop.machines.tsc import measure_tsc_khz

if TYPE_CHECKING:
    from guestloop.cache import Cache


class EmulatedSvm(MachineKind):
    """Our own build of QEMU, whose emulated CPU has SVM with nested paging and no VMX.

    See target/i386/tcg/sysemu/svm_helper.c of QEMU.
    """

    name = "tcg"
    title = "QEMU's emulator with emulated SVM"
    cpu_argv = ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,+svm,+npt,-la57")

    # TCG sometimes runs a breakpoint that the kernel had put into its own code for a moment and has forgotten
    # (docs/method.md, The emulator). Kernels with jump labels put them there all the time.
    faults = ("int3: 0000 [#1]",)

    def kernel_words(self) -> tuple[str, ...]:
        """The frequency of the TSC: to calibrate it in the emulator goes wrong on a busy host (tsc.py)."""
        khz = measure_tsc_khz()
        return (f"tsc_early_khz={khz}",) if khz else ()

    def availability(self, _host: Host) -> Availability:
        """Any host can emulate."""
        return Availability(True)

    def vendor(self, _host: Host) -> Vendor:
        """AMD, whatever L0's CPU is."""
        return Vendor.AMD

    def find_qemu(self, cache: Cache) -> Qemu:
        """Our own build. Raises what ``build_emulator`` raises."""
        from guestloop.machines.emulator import build_emulator

        emulator = build_emulator(cache)
        return Qemu(emulator.program, str(emulator))
