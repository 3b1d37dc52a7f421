# SPDX-License-Identifier: GPL-2.0-or-later
"""What an L1 is made of, as plain data: what the lab process is given needs no import of what runs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guestloop.results.sizes import USUAL, Sizes


@dataclass(frozen=True)
class Keys:
    """Client key (file) and the server's public key (``ssh-ed25519 AAAA...``) baked into the image."""

    client: Path
    host_public: str


@dataclass(frozen=True)
class L1Parts:
    """What an L1 is made of; ``build_id`` is what the booted kernel must report.

    ``program`` is QEMU, ``cpu_argv`` its options for accelerator and CPU, ``kernel_words`` what the kernel
    is told of the machine, ``machine_faults`` the signs of its known faults: see machines/kind.py.
    ``initramfs`` is None when the kernel finds its root alone. ``inherited`` are descriptors that QEMU keeps
    open as long as it lives, for what they hold.
    """

    name: str
    program: Path
    cpu_argv: tuple[str, ...]
    kernel_words: tuple[str, ...]
    kernel: Path
    build_id: str
    root: Path
    payload: Path
    keys: Keys
    initramfs: Path | None = None
    machine_faults: tuple[str, ...] = ()
    inherited: tuple[int, ...] = ()
    sizes: Sizes = USUAL
