"""L1 in QEMU's emulator (TCG), where hardware with nested KVM is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestloop.machines.host import Host, Vendor
from guestloop.machines.kind import Availability, MachineKind, Qemu

if TYPE_CHECKING:
    from guestloop.cache import Cache


class EmulatedSvm(MachineKind):
    """Our own build of QEMU, whose emulated CPU has SVM with nested paging and no VMX.

    See target/i386/tcg/sysemu/svm_helper.c of QEMU.
    """

    name = "tcg"
    title = "QEMU's emulator with emulated SVM"
    cpu_argv = ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,+svm,+npt")

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
