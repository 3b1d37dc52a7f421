# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines about the hardware and L0's KVM: what an L1 gets of it, and why not more (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from guestloop.doctor.check import Check, lacking, ok, warning
from guestloop.doctor.facts import Facts
from guestloop.machines.choice import choose
from guestloop.machines.features import TRUE, Feature, State, state
from guestloop.machines.host import Host, KvmDevice, Vendor

SHOWN_PARAMETERS = frozenset(
    {"tdp_mmu", "nx_huge_pages", "eager_page_split", "halt_poll_ns", "enable_apicv", "avic", "vpid"}
)
"""What of KVM's parameters bears on how an L1 runs; --json has all of them."""

TWO_DIMENSIONAL = {Vendor.AMD: Feature.NPT, Vendor.INTEL: Feature.EPT}


def check_hardware(facts: Facts) -> Iterator[Check]:
    """From the CPU to what an L1 gets."""
    host = facts.host
    yield ok("accelerator", str(choose(host)))
    yield _cpu(facts)
    yield _microcode(facts)
    yield _machine(facts)
    yield ok("L0 kernel", host.kernel or "unknown")
    yield _extension(facts)
    if host.vendor:
        yield _nesting(facts, host.vendor)
        yield _device(facts)
        yield from _features(facts, host.vendor)
        yield _parameters(host)


def _cpu(facts: Facts) -> Check:
    return ok("CPU", f"{facts.host.model}, {facts.host.cpus} CPUs")


def _microcode(facts: Facts) -> Check:
    seen = facts.host.microcode
    if facts.conditions.old_microcode:
        return warning(
            "microcode", f"{seen}: the kernel knows a newer one", "update the firmware or its package"
        )
    if not seen:
        return warning("microcode", "the hypervisor hides its revision")
    return ok("microcode", seen)


def _machine(facts: Facts) -> Check:
    seen = facts.conditions
    inside = f"a container of {seen.container} in " if seen.container else ""
    if seen.wsl:
        text = "WSL, a VM of Hyper-V: L1 is the guest of a guest, and times mean little"
        return warning("machine", f"{inside}{text}")
    if seen.hypervisor:
        below = f"a VM of {seen.hypervisor}" if seen.hypervisor != "unknown" else "a VM"
        return warning("machine", f"{inside}{below}: what its host does beside it shows in times only")
    return ok("machine", f"{inside}a machine without a hypervisor below it")


def _extension(facts: Facts) -> Check:
    host = facts.host
    if host.vendor:
        return ok("virtualization", f"{'svm' if host.vendor is Vendor.AMD else 'vmx'}, {host.vendor.module}")
    if facts.conditions.hypervisor:
        mend = "give this VM nested virtualization (nested=1 on its host, and there -cpu host)"
    else:
        mend = "enable it in the firmware's setup (SVM Mode, VT-x)"
    return lacking("virtualization", "the CPU shows neither svm nor vmx: L1 runs on the emulator only", mend)


def _nesting(facts: Facts, vendor: Vendor) -> Check:
    host, module = facts.host, vendor.module
    if host.nested in TRUE:
        return ok("nesting", f"{module}.nested={host.nested}")
    if not host.nested:
        return lacking("nesting", f"{module} is not loaded", f"modprobe {module} nested=1")
    return lacking("nesting", f"{module}.nested={host.nested}", reload(facts, vendor, "nested"))


def reload(facts: Facts, vendor: Vendor, parameter: str) -> str:
    """How a parameter of the host's KVM is switched on: never below the feet of running guests."""
    module, users = vendor.module, facts.conditions.kvm_users
    if users is None:
        return f"{module} is built in: boot with {module}.{parameter}=1"
    command = f"modprobe -r {module} && modprobe {module} {parameter}=1"
    return f"end the guests that use KVM (references: {users}), then {command}" if users else command


def _device(facts: Facts) -> Check:
    match facts.host.kvm_device:
        case KvmDevice.USABLE:
            return ok("/dev/kvm", "can be opened")
        case KvmDevice.DENIED:
            mend = "usermod -aG kvm USER, and log in again"
            return lacking("/dev/kvm", "this user may not open it for reading and writing", mend)
        case KvmDevice.MISSING:
            inside = facts.conditions.container
            mend = "start the container with --device /dev/kvm" if inside else "modprobe the module of KVM"
            return lacking("/dev/kvm", "there is none", mend)


def _features(facts: Facts, vendor: Vendor) -> Iterator[Check]:
    paging = TWO_DIMENSIONAL[vendor]
    yield _feature(facts, paging, f"{paging.upper()} for L1", "only cells of the MMU mode shadow can run")
    if vendor is Vendor.AMD:
        # KVM takes it for granted (arch/x86/kvm/mmu/spte.c: kvm_mmu_reset_all_pte_masks).
        yield ok("A/D bits", "always there with NPT")
        yield lacking("PML", "only Intel's CPUs have it: cells of the modes that need it are skipped")
        yield ok("unrestricted guest", "SVM needs none: it runs real mode as it is")
        return
    skipped = "cells of the modes that need it are skipped"
    yield _feature(facts, Feature.EPTAD, "EPT A/D bits for L1", skipped)
    yield _feature(facts, Feature.PML, "PML for L1, which L0 emulates", skipped)
    yield _feature(facts, Feature.UNRESTRICTED, "unrestricted guest", "real mode is emulated, boots are slow")


TOPICS = {Feature.EPTAD: "A/D bits", Feature.PML: "PML", Feature.UNRESTRICTED: "unrestricted guest"}


def _feature(facts: Facts, feature: Feature, what: str, without: str) -> Check:
    topic = TOPICS.get(feature, "paging")
    match state(facts.host, feature):
        case State.OFFERED:
            return ok(topic, what)
        case State.SWITCHED_OFF:
            text = f"{feature.full_parameter} is off: {without}"
            return lacking(topic, text, reload(facts, feature.vendor, feature.parameter))
        case State.ABSENT:
            return lacking(topic, f"the CPU has no {feature.flag}: {without}")


def _parameters(host: Host) -> Check:
    shown = [
        f"{name}={value}"
        for name, value in host.parameters.items()
        if name.partition(".")[2] in SHOWN_PARAMETERS
    ]
    return ok("KVM parameters", " ".join(shown) or "none: KVM is not loaded")
