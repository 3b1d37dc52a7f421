# SPDX-License-Identifier: GPL-2.0-or-later
"""Sizes that the whole project shares, in bytes. Pages are those of x86-64."""

PAGE = 4096
MIB = 1 << 20
HUGE_PAGE = 2 * MIB
PAGES_PER_HUGE_PAGE = HUGE_PAGE // PAGE
