# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated lab host: ``scripts/run --accel kvm`` as it is, in a virtual machine with nested KVM.

The machine runs on our emulator, so its CPU has SVM. Its own KVM runs L1 as a guest, and L2 as a nested one.
``command`` does it all. The recipe is in guest-images/lab-host; docs/hardware.md says what this proves.
"""
