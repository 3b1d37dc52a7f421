# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of the emulator for a lab host (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from guestloop.vm.argv import (
    Argv,
    board,
    boot,
    command_line,
    firmware,
    identity,
    nameless_disk,
    network,
    read_only_disk,
)
from labhost.root import LAB


@dataclass(frozen=True)
class HostSpec:
    """One lab host. Memory in MiB; descriptors are inherited, ``lab_fd`` is an open file without a name."""

    program: Path
    cpu_argv: Sequence[str]
    kernel_words: Sequence[str]
    kernel: Path
    initramfs: Path | None
    root: Path
    console: Path
    qmp_fd: int
    lab_fd: int
    memory_mib: int
    cpus: int


def host_argv(spec: HostSpec) -> Argv:
    """QEMU for a lab host: the board of an L1, a root that is shared, a disk of its own that is written."""
    return [
        f"{spec.program}",
        *firmware(),
        *identity("guestloop-lab-host"),
        *board(spec.cpus),
        *spec.cpu_argv,
        *("-m", f"{spec.memory_mib}"),
        *boot(spec.kernel, spec.initramfs, command_line(spec.kernel_words)),
        *read_only_disk("root", spec.root),
        *nameless_disk(LAB, spec.lab_fd),
        *network(),
        *("-serial", f"file:{spec.console}"),
        *("-chardev", f"socket,id=qmp,fd={spec.qmp_fd}", "-mon", "chardev=qmp,mode=control"),
    ]
