# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's x86 emulator with SVM mended, for L1 where nested KVM is missing. ``build_emulator`` does it all."""

from guestloop.machines.emulator.build import Emulator, build_emulator

__all__ = ["Emulator", "build_emulator"]
