# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs inside L1: KVM modules, L2 guests, memory pressure, counters and call paths.

Standard library and qemu.qmp only. L0 sends one JSON request a line and gets one JSON answer a line.
"""
