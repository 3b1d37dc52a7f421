# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts/test runs: style, types, fast tests, tests with real guests; and where the time went."""
