# SPDX-License-Identifier: GPL-2.0-or-later
"""Facts about this machine, L0; which kinds of L1 they permit is for those kinds to say (choice.py).

Everything is read below a root directory, so that recorded trees of /sys and /proc can stand in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Vendor(StrEnum):
    """Whose virtualization extension a CPU has."""

    AMD = "amd"
    INTEL = "intel"

    @property
    def module(self) -> str:
        """KVM's module for it."""
        return f"kvm_{self}"


class KvmDevice(StrEnum):
    """What this process can do with /dev/kvm."""

    MISSING = "missing"
    DENIED = "denied"
    USABLE = "usable"


FLAGS = {"svm": Vendor.AMD, "vmx": Vendor.INTEL}


@dataclass(frozen=True)
class Host:
    """Facts about L0. Memory in MiB.

    ``vendor`` is None for a CPU that shows neither svm nor vmx. ``nested`` is the parameter of that name of
    the vendor's KVM module as the kernel prints it, empty when the module is not loaded.
    """

    model: str
    cpus: int
    memory_mib: int
    vendor: Vendor | None
    nested: str
    kvm_device: KvmDevice


def read_host(root: Path = Path("/")) -> Host:
    """Look at /proc, /sys and /dev below ``root``."""
    cpuinfo = (root / "proc/cpuinfo").read_text()
    vendor = _find_vendor(_field(cpuinfo, "flags").split())
    return Host(
        model=_field(cpuinfo, "model name") or "unknown CPU",
        cpus=cpuinfo.count("processor\t:"),
        memory_mib=_memory_mib((root / "proc/meminfo").read_text()),
        vendor=vendor,
        nested=_read_nested(root, vendor) if vendor else "",
        kvm_device=_probe_device(root / "dev/kvm"),
    )


def _field(cpuinfo: str, name: str) -> str:
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _find_vendor(flags: Iterable[str]) -> Vendor | None:
    present = set(flags)
    return next((vendor for flag, vendor in FLAGS.items() if flag in present), None)


def _read_nested(root: Path, vendor: Vendor) -> str:
    parameter = root / "sys/module" / vendor.module / "parameters/nested"
    return parameter.read_text().strip() if parameter.exists() else ""


def _probe_device(device: Path) -> KvmDevice:
    if not device.exists():
        return KvmDevice.MISSING
    return KvmDevice.USABLE if os.access(device, os.R_OK | os.W_OK) else KvmDevice.DENIED


def _memory_mib(meminfo: str) -> int:
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return 0
