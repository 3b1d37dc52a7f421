# SPDX-License-Identifier: GPL-2.0-or-later
"""What L2 guests are put through: prepare, drive, prove that it happened, judge."""
