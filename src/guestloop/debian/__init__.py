# SPDX-License-Identifier: GPL-2.0-or-later
"""This machine's package sources of Debian, and an apt that leaves the machine's own alone."""
