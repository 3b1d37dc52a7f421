# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of the page of a report in a real browser: Debian's chromium, without a screen."""
