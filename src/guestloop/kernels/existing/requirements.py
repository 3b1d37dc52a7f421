# SPDX-License-Identifier: GPL-2.0-or-later
"""What the configuration of a kernel must have to be measured at all, known before anything runs (pure).

Options that only some cells need are not here: what a kernel lacks skips those cells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from guestloop.ground.errors import ConfigError
from guestloop.kernels.kconfig import NOT_SET

OLDEST = (6, 1)

BUILT_IN, MODULE = "y", "m"
_VERSION = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True)
class Need:
    """An option that must be set, and what it is for. ``as_module``: it may be a module too."""

    option: str
    purpose: str
    as_module: bool = False

    def is_met(self, options: Mapping[str, str]) -> bool:
        return options.get(self.option, NOT_SET) in {BUILT_IN, MODULE if self.as_module else BUILT_IN}


ROOT_DRIVERS = {
    "VIRTIO_PCI": "virtio_pci",
    "VIRTIO_BLK": "virtio_blk",
    "VIRTIO_NET": "virtio_net",
    "EXT4_FS": "ext4",
}
"""What L1 needs before its root is mounted, and for ssh: options and their modules."""

VENDORS = {"KVM_AMD": "kvm_amd", "KVM_INTEL": "kvm_intel"}

NEEDS = (
    Need("MODULE_UNLOAD", "KVM is loaded anew for each MMU mode"),
    Need("PCI", "L1's devices are on PCI"),
    *(Need(option, "L1's root, network or file system", as_module=True) for option in ROOT_DRIVERS),
    Need("DEVTMPFS", "device nodes of L1"),
    Need("TMPFS", "what L1 writes"),
    Need("PROC_FS", "L1's init and agent"),
    Need("SYSFS", "L1's init and agent"),
    Need("BINFMT_SCRIPT", "L1's agent is started by a script"),
    Need("SERIAL_8250_CONSOLE", "L1's console"),
    Need("INET", "ssh to L1"),
    Need("UNIX", "QEMU's control sockets"),
    Need("KALLSYMS", "names in the call stacks of flushes"),
    Need("STACKTRACE", "call stacks of flushes"),
    Need("KPROBE_EVENTS", "the probe that counts flush requests"),
    Need("HIST_TRIGGERS", "the histogram that counts flush requests"),
    Need("DEBUG_FS", "KVM's statistics"),
)

INITRAMFS = Need("BLK_DEV_INITRD", "drivers of L1's root are modules, so it needs an initramfs")


def check_release(release: str, what: str) -> None:
    """Raise ConfigError for a kernel older than 6.1. ``what`` names the kernel in messages."""
    match = _VERSION.match(release)
    if not match or (int(match[1]), int(match[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ConfigError(f"{what}: kernel {release} is not supported, wanted {oldest} or later")


def check_options(options: Mapping[str, str], what: str) -> None:
    """Raise ConfigError if nothing can be measured with a configuration, with every reason."""
    check_kvm(options, what)
    needs = NEEDS if all(options.get(name) == BUILT_IN for name in ROOT_DRIVERS) else (*NEEDS, INITRAMFS)
    unmet = [need for need in needs if not need.is_met(options)]
    if unmet:
        lacking = "; ".join(f"CONFIG_{need.option} ({need.purpose})" for need in unmet)
        raise ConfigError(f"{what}: its configuration lacks what is needed to measure: {lacking}")


def check_kvm(options: Mapping[str, str], what: str) -> None:
    """Raise ConfigError unless KVM can be loaded as modules, at least for one vendor."""
    kvm = options.get("KVM", NOT_SET)
    if kvm == NOT_SET:
        raise ConfigError(f"{what}: the kernel has no KVM: CONFIG_KVM is not set")
    if options.get("MODULES", NOT_SET) != BUILT_IN:
        raise ConfigError(f"{what}: the kernel has no loadable modules: CONFIG_MODULES is not set")
    vendors = [option for option in VENDORS if options.get(option, NOT_SET) != NOT_SET]
    if not vendors:
        raise ConfigError(
            f"{what}: the kernel has KVM for no vendor: neither of CONFIG_{', CONFIG_'.join(VENDORS)}"
        )
    fixed = [option for option in ("KVM", *vendors) if options[option] != MODULE]
    if fixed:
        raise ConfigError(
            f"{what}: KVM is built into the kernel (CONFIG_{fixed[0]}={options[fixed[0]]}), wanted a module",
            hint="KVM is loaded anew for each MMU mode, with other parameters",
        )


def modular(options: Mapping[str, str], modules: Mapping[str, str]) -> tuple[str, ...]:
    """Return the modules, of those by option, that are not built in."""
    return tuple(module for option, module in modules.items() if options.get(option) == MODULE)
