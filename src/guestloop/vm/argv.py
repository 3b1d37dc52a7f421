# SPDX-License-Identifier: GPL-2.0-or-later
"""Command lines of QEMU, for L1 on L0 and for L2 in L1: pure functions, joined by addition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from guestloop.results.sizes import USUAL, Sizes

Argv = list[str]

# Where L1's init unpacks the payload disk (guest-images/l1).
L1_PAYLOAD = "/run/guestloop"
AGENT_PORT = 7070  # on L1's loopback
HUGETLBFS = "/dev/hugepages"
PAYLOAD_SERIAL = "payload"
SWAP_SERIAL = "swap"


@dataclass(frozen=True)
class L1Spec:
    """One L1. ``qmp_fd`` is inherited, ``swap_fd`` an open file without a name.

    ``program`` is QEMU, ``cpu_argv`` its options for accelerator and CPU, ``kernel_words`` what the kernel
    is told of the machine: see machines/kind.py. ``initramfs`` is None when the kernel finds its root alone.
    """

    name: str
    program: Path
    cpu_argv: Sequence[str]
    kernel_words: Sequence[str]
    kernel: Path
    root: Path
    payload: Path
    console: Path
    qmp_fd: int
    swap_fd: int
    initramfs: Path | None = None
    sizes: Sizes = USUAL


def l1_argv(spec: L1Spec) -> Argv:
    """QEMU for L1: SSH only through a forward on loopback, whose port QEMU picks itself."""
    return [
        f"{spec.program}",
        *firmware(),
        *identity(f"guestloop-l1-{spec.name}"),
        *board(spec.sizes.l1_cpus),
        *spec.cpu_argv,
        *("-m", f"{spec.sizes.l1_memory_mib}"),
        *_l1_kernel(spec),
        *read_only_disk("root", spec.root),
        *read_only_disk(PAYLOAD_SERIAL, spec.payload),
        *nameless_disk(SWAP_SERIAL, spec.swap_fd),
        *network(),
        *("-serial", f"file:{spec.console}"),
        *("-chardev", f"socket,id=qmp,fd={spec.qmp_fd}", "-mon", "chardev=qmp,mode=control"),
    ]


def firmware() -> Argv:
    """Where Debian's packages have it; our own emulator brings none."""
    return ["-L", "/usr/share/qemu", "-L", "/usr/share/seabios"]


def identity(name: str) -> Argv:
    """The machine's name in messages and lists of processes, and nothing that was not asked for."""
    return ["-name", name, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]


def board(cpus: int) -> Argv:
    """One core per socket: without ACPI the kernel reads SeaBIOS's MP table, which lists sockets."""
    machine = ["-machine", "q35,usb=off,vmport=off,smbus=off,hpet=off"]
    return [*machine, "-smp", f"{cpus},sockets={cpus}"]


def _l1_kernel(spec: L1Spec) -> Argv:
    return boot(spec.kernel, spec.initramfs, l1_command_line(spec))


def boot(kernel: Path, initramfs: Path | None, command_line: str) -> Argv:
    """What is booted, and what it is told."""
    more = ["-initrd", f"{initramfs}"] if initramfs else []
    return ["-kernel", f"{kernel}", *more, "-append", command_line]


def l1_command_line(spec: L1Spec) -> str:
    """What L1's kernel is told: the same for every kernel of a run."""
    return command_line(spec.kernel_words)


def command_line(kernel_words: Sequence[str]) -> str:
    """What the kernel of a machine with this board is told; ``kernel_words`` are of machines/kind.py."""
    words = [
        "console=ttyS0 root=/dev/vda ro rootfstype=ext4 init=/sbin/init printk.devkmsg=on",
        # Without ACPI nothing tells where q35's PM timer is, and without it the TSC is calibrated only
        # now and then. With a TSC of 0 kHz KVM never enters a guest (x86.c: kvm_guest_time_update).
        "panic=-1 oops=panic tsc=reliable pmtmr=0x608",
        # Kernels differ in these by their configuration.
        "mitigations=off nokaslr init_on_alloc=0 init_on_free=0",
        *kernel_words,
    ]
    return " ".join(words)


def read_only_disk(serial: str, path: Path) -> Argv:
    """A disk that several QEMUs may share."""
    filename = f"{path}".replace(",", ",,")  # a single comma would end the value
    return [
        *("-blockdev", f"driver=file,node-name={serial},filename={filename},read-only=on,locking=off"),
        *("-device", f"virtio-blk-pci,drive={serial},serial={serial}"),
    ]


def nameless_disk(serial: str, descriptor: int) -> Argv:
    """A file without a name, so that nothing is left of it however QEMU ends."""
    file = f"driver=file,node-name={serial},filename=/dev/fdset/1,cache.no-flush=on,locking=off"
    return [
        *("-add-fd", f"fd={descriptor},set=1"),
        *("-blockdev", file),
        *("-device", f"virtio-blk-pci,id={serial},drive={serial},serial={serial}"),
    ]


def network() -> Argv:
    """A network of its own, with nothing in it but a forward from L0 to the machine's sshd."""
    return [
        *("-netdev", "user,id=net,ipv6=off,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
    ]


class Backing(StrEnum):
    """What an L2's RAM is made of: anonymous memory, or a file that can be looked into from outside."""

    ANONYMOUS = "anonymous"
    FILE = "file"
    HUGE_FILE = "huge-file"


class Incoming(StrEnum):
    """Does an L2 boot, or wait for a migration, after which it stays at rest or runs on?"""

    NO = "no"
    REST = "rest"
    RUN = "run"


@dataclass(frozen=True)
class L2Spec:
    """One L2, as the agent starts it in L1. Sizes in MiB.

    ``dirty_ring``: entries of each vCPU's ring, 0 for KVM's dirty bitmap. ``ram_directory`` holds the file
    of the RAM; empty: L1's tmpfs, or hugetlbfs for 2 MiB pages.
    """

    name: str
    memory_mib: int = 128
    vcpus: int = 2
    kvmapf: bool = True
    backing: Backing = Backing.ANONYMOUS
    incoming: Incoming = Incoming.NO
    dirty_ring: int = 0
    ram_directory: str = ""


def l2_argv(spec: L2Spec) -> Argv:
    """QEMU for L2; ``@qmp@`` and ``@port@`` are file descriptors that the agent fills in."""
    return [
        "qemu-system-x86_64-microvm",
        *identity(f"guestloop-l2-{spec.name}"),
        *("-machine", "microvm,rtc=on,acpi=off,pit=off,pic=off,memory-backend=ram"),
        *_l2_cpu(spec),
        *_l2_memory(spec),
        *_l2_kernel(spec),
        *("-serial", f"file:{L1_PAYLOAD}/l2/{spec.name}/console.log"),
        *("-chardev", "socket,id=qmp,fd=@qmp@", "-mon", "chardev=qmp,mode=control"),
        *("-chardev", "socket,id=port,fd=@port@", "-device", "virtio-serial-device"),
        *("-device", "virtserialport,chardev=port,name=guestloop"),
        *_l2_migration(spec),
    ]


def _l2_cpu(spec: L2Spec) -> Argv:
    ring = f",dirty-ring-size={spec.dirty_ring}" if spec.dirty_ring else ""
    cpu = ["-cpu", "host", "-smp", f"{spec.vcpus},sockets={spec.vcpus}"]
    return ["-accel", f"kvm{ring}", *cpu]


def _l2_memory(spec: L2Spec) -> Argv:
    size = f"size={spec.memory_mib}M"
    if spec.backing is Backing.ANONYMOUS:
        return ["-m", f"{spec.memory_mib}", "-object", f"memory-backend-ram,id=ram,{size}"]
    usual = HUGETLBFS if spec.backing is Backing.HUGE_FILE else f"{L1_PAYLOAD}/l2/{spec.name}"
    # prealloc: with hugetlbfs a lack of pages is an error at once and no SIGBUS later.
    prealloc = "on" if spec.backing is Backing.HUGE_FILE else "off"
    file = f"mem-path={spec.ram_directory or usual}/{spec.name}.ram"
    backend = f"memory-backend-file,id=ram,{size},{file},share=on,prealloc={prealloc}"
    return ["-m", f"{spec.memory_mib}", "-object", backend]


def _l2_migration(spec: L2Spec) -> Argv:
    """The dirty log is cleared in pieces of 2^6 pages, the smallest that QEMU knows.

    Its default is 2^18 pages, made for guests of terabytes: a small one would be cleared at one stroke, and
    for all of a round its pages were sent long after they were write-protected.
    """
    pieces = ["-global", "migration.x-clear-bitmap-shift=6"] if spec.backing is not Backing.ANONYMOUS else []
    waiting = {Incoming.NO: [], Incoming.RUN: ["-incoming", "defer"]}
    return pieces + waiting.get(spec.incoming, ["-incoming", "defer", "-S"])


def _l2_kernel(spec: L2Spec) -> Argv:
    words = [
        "console=ttyS0 loglevel=4 panic=-1 oops=panic reboot=t",
        # To describe the caches of each vCPU costs 0.3 s for each of them under emulation, and serves nobody.
        "initcall_blacklist=cacheinfo_sysfs_init",
    ]
    if not spec.kvmapf:
        words.append("no-kvmapf")
    return [
        *("-kernel", f"{L1_PAYLOAD}/l2/vmlinux"),
        *("-initrd", f"{L1_PAYLOAD}/l2/initramfs.cpio"),
        *("-append", " ".join(words)),
    ]
