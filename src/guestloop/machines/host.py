"""What this machine can do, as facts with reasons.

Everything is read below a root directory, so that recorded trees of /sys and /proc can stand in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from guestloop.ground.errors import LabError


class Accelerator(StrEnum):
    """How L1 runs: on hardware with nested KVM, or in QEMU's emulator."""

    KVM = "kvm"
    TCG = "tcg"


class Vendor(StrEnum):
    """Whose virtualization extension L1 sees."""

    AMD = "amd"
    INTEL = "intel"


FLAGS = {"svm": Vendor.AMD, "vmx": Vendor.INTEL}
ENABLED = frozenset({"Y", "1"})


@dataclass(frozen=True)
class Host:
    """Facts about L0.

    ``vendor`` is None without svm or vmx. ``nested_kvm`` says whether L1 can be given nested
    virtualization on hardware, and ``reason`` why or why not. Memory in MiB.
    """

    model: str
    cpus: int
    memory_mib: int
    vendor: Vendor | None
    nested_kvm: bool
    reason: str


def read_host(root: Path = Path("/")) -> Host:
    """Look at /proc and /sys below ``root``."""
    cpuinfo = (root / "proc/cpuinfo").read_text()
    vendor = _find_vendor(_field(cpuinfo, "flags").split())
    nested, reason = _nested(root, vendor)
    return Host(
        model=_field(cpuinfo, "model name") or "unknown CPU",
        cpus=cpuinfo.count("processor\t:"),
        memory_mib=_memory_mib((root / "proc/meminfo").read_text()),
        vendor=vendor,
        nested_kvm=nested,
        reason=reason,
    )


def choose_accelerator(host: Host, wanted: str) -> Accelerator:
    """Resolve ``auto``, ``kvm`` or ``tcg``. Raises LabError when kvm is wanted and cannot be had."""
    if wanted == "auto":
        return Accelerator.KVM if host.nested_kvm else Accelerator.TCG
    chosen = Accelerator(wanted)
    if chosen is Accelerator.KVM and not host.nested_kvm:
        raise LabError(
            f"--accel kvm: {host.reason}", hint="use --accel tcg (emulated SVM), or a host with nested KVM"
        )
    return chosen


def guest_vendor(host: Host, accelerator: Accelerator) -> Vendor:
    """The vendor L1 sees: the emulator has SVM only, hardware passes its own through."""
    if accelerator is Accelerator.TCG or host.vendor is None:
        return Vendor.AMD
    return host.vendor


def _field(cpuinfo: str, name: str) -> str:
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _find_vendor(flags: Iterable[str]) -> Vendor | None:
    present = set(flags)
    return next((vendor for flag, vendor in FLAGS.items() if flag in present), None)


def _nested(root: Path, vendor: Vendor | None) -> tuple[bool, str]:
    """Decide by the CPU flag and the module's ``nested``: a device node alone proves nothing.

    A paravirtual back end can offer /dev/kvm on a CPU that shows neither svm nor vmx.
    """
    device = root / "dev/kvm"
    if vendor is None:
        also = "; /dev/kvm is there but cannot nest without it" if device.exists() else ""
        return False, f"the CPU shows neither svm nor vmx{also}"
    module = f"kvm_{vendor}"
    parameter = root / "sys/module" / module / "parameters/nested"
    if not parameter.exists():
        return False, f"{module} is not loaded"
    value = parameter.read_text().strip()
    if value not in ENABLED:
        return False, f"{module}.nested is {value}; reload the module with nested=1"
    if not device.exists():
        return False, "there is no /dev/kvm"
    if not os.access(device, os.R_OK | os.W_OK):
        return False, "/dev/kvm cannot be opened for reading and writing by this user"
    return True, f"{module} with nested={value}"


def _memory_mib(meminfo: str) -> int:
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return 0
