# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels: source, series, configuration, build and cache. ``build_kernel`` is the entry point."""

from guestloop.kernels.artifacts import Kernel
from guestloop.kernels.build import Inputs, build_kernel, find_inputs
from guestloop.kernels.changed import find_changes
from guestloop.kernels.describing import describe_attempt, describe_inputs
from guestloop.kernels.flushes import unnamed_callers
from guestloop.kernels.l2 import build_l2_kernel, describe_l2_kernel

__all__ = [
    "Inputs",
    "Kernel",
    "build_kernel",
    "build_l2_kernel",
    "describe_attempt",
    "describe_inputs",
    "describe_l2_kernel",
    "find_changes",
    "find_inputs",
    "unnamed_callers",
]
