# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels that exist already: nothing is compiled. ``make_bootable`` makes an L1 kernel of unpacked files."""
