# SPDX-License-Identifier: GPL-2.0-or-later
"""The machines that can run an L1: what this host offers, and the emulator that stands in for hardware."""
