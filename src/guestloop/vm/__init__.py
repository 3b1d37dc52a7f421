# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual machines on L0: command lines, L1's life, the link to its agent."""
