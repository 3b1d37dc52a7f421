# SPDX-License-Identifier: GPL-2.0-or-later
"""What KVM counted: differences of counters, call-path histograms, requests by named path.

All functions here are pure: they take what was read and touch nothing.
"""

from __future__ import annotations

from guestloop.counters.histogram import Histogram, StackCount, parse_histogram, subtract
from guestloop.counters.paths import (
    FUNCTIONS,
    OTHER,
    PATHS,
    PROTECTING,
    absent_paths,
    attribute,
    attribute_others,
    inconsistency,
    path_of,
    render_stacks,
)
from guestloop.counters.requests import is_of_the_mmu
from guestloop.counters.rules import RULES, PathRule
from guestloop.counters.snapshot import FLUSH_REQUESTS, diff
from guestloop.counters.stacks import Stack, parse_stacks

__all__ = [
    "FLUSH_REQUESTS",
    "FUNCTIONS",
    "OTHER",
    "PATHS",
    "PROTECTING",
    "RULES",
    "Histogram",
    "PathRule",
    "Stack",
    "StackCount",
    "absent_paths",
    "attribute",
    "attribute_others",
    "diff",
    "inconsistency",
    "is_of_the_mmu",
    "parse_histogram",
    "parse_stacks",
    "path_of",
    "render_stacks",
    "subtract",
]
