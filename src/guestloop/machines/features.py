# SPDX-License-Identifier: GPL-2.0-or-later
"""What the hardware of this machine offers to an L1, and whether L0's KVM passes it on (pure)."""

from __future__ import annotations

from enum import StrEnum

from guestloop.machines.host import Host, Vendor

TRUE = frozenset({"Y", "1"})
"""How the kernel prints a parameter that is on (kernel/params.c: param_get_bool, param_get_int)."""


class Feature(StrEnum):
    """A feature by the label that a scheduler asks for.

    ``vendor`` has it, ``flag`` shows it in /proc/cpuinfo (arch/x86/include/asm/cpufeatures.h, vmxfeatures.h),
    and L1 gets it unless ``parameter`` of the vendor's module is off.
    """

    vendor: Vendor
    flag: str
    parameter: str

    # The defaults are there for mypy, which takes Feature("svm") for a call of this.
    def __new__(cls, value: str, vendor: Vendor = Vendor.AMD, flag: str = "", parameter: str = "") -> Feature:
        member = str.__new__(cls, value)
        member._value_, member.vendor, member.flag, member.parameter = value, vendor, flag, parameter
        return member

    SVM = "svm", Vendor.AMD, "svm", "nested"
    NPT = "npt", Vendor.AMD, "npt", "npt"
    VMX = "vmx", Vendor.INTEL, "vmx", "nested"
    EPT = "ept", Vendor.INTEL, "ept", "ept"
    EPTAD = "eptad", Vendor.INTEL, "ept_ad", "eptad"
    # L0 emulates it for L1 and asks for the A/D bits only, not for its own PML (arch/x86/kvm/vmx/nested.c:
    # nested_vmx_setup_secondary_ctls).
    PML = "pml", Vendor.INTEL, "ept_ad", "eptad"
    UNRESTRICTED = "unrestricted-guest", Vendor.INTEL, "unrestricted_guest", "unrestricted_guest"

    @property
    def full_parameter(self) -> str:
        """``kvm_intel.eptad``."""
        return f"{self.vendor.module}.{self.parameter}"


class State(StrEnum):
    """What became of a feature on a host."""

    OFFERED = "offered"
    SWITCHED_OFF = "switched off"  # by the parameter of KVM's module
    ABSENT = "absent"  # the CPU, or the hypervisor below it, has none


def state(host: Host, feature: Feature) -> State:
    """Whether an L1 on this host gets a feature; as the CPU says as long as KVM is not loaded.

    KVM switches the parameter off by itself where the CPU lacks the feature (arch/x86/kvm/vmx/vmx.c:
    hardware_setup), so one that is on proves it, also for a kernel that prints no flags of VMX.
    """
    if host.vendor is not feature.vendor:
        return State.ABSENT
    seen = host.parameters.get(feature.full_parameter)
    if seen in TRUE:
        return State.OFFERED
    if feature.flag not in host.flags:
        return State.ABSENT
    return State.OFFERED if seen is None else State.SWITCHED_OFF
