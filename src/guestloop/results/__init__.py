# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run leaves behind: its plan, the record of each round, and the enums that they need."""
