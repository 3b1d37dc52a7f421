# SPDX-License-Identifier: GPL-2.0-or-later
"""Facts about this machine, L0; which kinds of L1 they permit is for those kinds to say (choice.py).

Everything is read below a root directory, so that recorded trees of /sys and /proc can stand in. What a run
decides by and what ``guestloop doctor`` shows are the same facts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
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
HIDDEN_MICROCODE = frozenset({"", "0xffffffff"})
"""What a CPU of a VM may say in place of its revision; Hyper-V answers with all ones."""


@dataclass(frozen=True)
class Host:
    """Facts about L0. Memory in MiB.

    ``vendor`` is None for a CPU that shows neither svm nor vmx. ``flags`` are the CPU's, with those of VMX
    (arch/x86/kernel/cpu/proc.c: show_cpuinfo). ``parameters`` are those of KVM's modules that are loaded,
    ``kvm_amd.nested``, as the kernel prints them. ``kernel`` is the release of L0's. ``microcode`` is empty
    where a hypervisor hides it.
    """

    model: str
    cpus: int
    memory_mib: int
    vendor: Vendor | None
    kvm_device: KvmDevice
    flags: frozenset[str] = frozenset()
    parameters: Mapping[str, str] = field(default_factory=dict)
    kernel: str = ""
    microcode: str = ""

    @property
    def nested(self) -> str:
        """``nested`` of the vendor's KVM module as the kernel prints it, empty when it is not loaded."""
        return self.parameters.get(f"{self.vendor.module}.nested", "") if self.vendor else ""


def read_host(root: Path = Path("/")) -> Host:
    """Look at /proc, /sys and /dev below ``root``."""
    cpuinfo = (root / "proc/cpuinfo").read_text()
    flags = frozenset(f"{_field(cpuinfo, 'flags')} {_field(cpuinfo, 'vmx flags')}".split())
    vendor, microcode = _find_vendor(flags), _field(cpuinfo, "microcode")
    return Host(
        model=_field(cpuinfo, "model name") or "unknown CPU",
        cpus=cpuinfo.count("processor\t:"),
        memory_mib=read_meminfo(root).get("MemTotal", 0),
        vendor=vendor,
        kvm_device=_probe_device(root / "dev/kvm"),
        flags=flags,
        parameters=dict(_parameters(root, ["kvm", *([vendor.module] if vendor else [])])),
        kernel=read_text(root / "proc/sys/kernel/osrelease"),
        microcode="" if microcode in HIDDEN_MICROCODE else microcode,
    )


def read_text(path: Path) -> str:
    """What a file of /proc or /sys says, without the line's end; empty when it cannot be read."""
    with suppress(OSError):
        return path.read_text().strip()
    return ""


def read_meminfo(root: Path) -> dict[str, int]:
    """/proc/meminfo in MiB, by field; counts of pages are left out."""
    rows = (line.split() for line in read_text(root / "proc/meminfo").splitlines())
    return {row[0].rstrip(":"): int(row[1]) // 1024 for row in rows if row[2:] == ["kB"]}


def _field(cpuinfo: str, name: str) -> str:
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _find_vendor(flags: Iterable[str]) -> Vendor | None:
    present = set(flags)
    return next((vendor for flag, vendor in FLAGS.items() if flag in present), None)


def _parameters(root: Path, modules: Iterable[str]) -> Iterator[tuple[str, str]]:
    for module in modules:
        for path in sorted((root / "sys/module" / module / "parameters").glob("*")):
            if value := read_text(path):
                yield f"{module}.{path.name}", value


def _probe_device(device: Path) -> KvmDevice:
    if not device.exists():
        return KvmDevice.MISSING
    return KvmDevice.USABLE if os.access(device, os.R_OK | os.W_OK) else KvmDevice.DENIED
