# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts/test runs: style, types, fast tests, tests with a browser, tests with real guests.

And where the time went.
"""
