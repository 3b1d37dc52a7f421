# SPDX-License-Identifier: GPL-2.0-or-later
"""L1 on hardware: QEMU with KVM, whose own KVM then runs L2 by nested virtualization."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestloop.ground.errors import LabError
from guestloop.machines.features import TRUE
from guestloop.machines.host import Host, KvmDevice, Vendor
from guestloop.machines.kind import PROGRAM, Availability, MachineKind, Qemu

if TYPE_CHECKING:
    from guestloop.cache import Cache

HINT = "scripts/doctor says what would mend it; --accel tcg (emulated SVM) runs anywhere"


class NestedKvm(MachineKind):
    """The installed QEMU, with the host's own CPU."""

    name = "kvm"
    title = "nested KVM"
    cpu_argv = ("-accel", "kvm", "-cpu", "host,-la57")
    borrows_host = True
    follows_host = True

    def availability(self, host: Host) -> Availability:
        """Decided by the CPU flag and the module's ``nested``: a device node alone proves nothing.

        A paravirtual back end can offer /dev/kvm on a CPU that shows neither svm nor vmx.
        """
        if obstacle := _obstacle(host):
            return Availability(False, obstacle, HINT)
        return Availability(True, f"{self.vendor(host).module} with nested={host.nested}")

    def vendor(self, host: Host) -> Vendor:
        """The host's own, which is passed through."""
        if host.vendor is None:
            raise LabError(f"{self.title}: {_obstacle(host)}", hint=HINT)
        return host.vendor

    def find_qemu(self, _cache: Cache) -> Qemu:
        """The installed one. Raises LabError when there is none."""
        from guestloop.ground import proc

        program = proc.find_program(PROGRAM)
        return Qemu(program, proc.read([program, "--version"]).lines[0])


def _obstacle(host: Host) -> str:
    """Why nested KVM cannot be had; empty: nothing is in the way."""
    if host.vendor is None:
        useless = host.kvm_device is not KvmDevice.MISSING
        also = "; /dev/kvm is there but cannot nest without it" if useless else ""
        return f"the CPU shows neither svm nor vmx{also}"
    module = host.vendor.module
    if not host.nested:
        return f"{module} is not loaded"
    if host.nested not in TRUE:
        return f"{module}.nested is {host.nested}; reload the module with nested=1"
    if host.kvm_device is KvmDevice.MISSING:
        return "there is no /dev/kvm"
    if host.kvm_device is KvmDevice.DENIED:
        return "/dev/kvm cannot be opened for reading and writing by this user"
    return ""
