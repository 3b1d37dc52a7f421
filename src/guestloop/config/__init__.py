# SPDX-License-Identifier: GPL-2.0-or-later
"""Frozen specs of kernels and profiles, read from YAML."""

from guestloop.config.change import Change, Words, parse_change
from guestloop.config.durations import parse_duration
from guestloop.config.existing import ExistingSpec
from guestloop.config.expect import parse_expect_options
from guestloop.config.kernels import (
    BaseKind,
    BaseSpec,
    KernelArgument,
    KernelSpec,
    find_kernel_files,
    kernel_directories,
    load_argument,
    load_kernel,
    own_directory,
    parse_kernel,
)
from guestloop.config.profiles import Profile, load_profiles
from guestloop.config.reading import REPOSITORY

__all__ = [
    "REPOSITORY",
    "BaseKind",
    "BaseSpec",
    "Change",
    "ExistingSpec",
    "KernelArgument",
    "KernelSpec",
    "Profile",
    "Words",
    "find_kernel_files",
    "kernel_directories",
    "load_argument",
    "load_kernel",
    "load_profiles",
    "own_directory",
    "parse_change",
    "parse_duration",
    "parse_expect_options",
    "parse_kernel",
]
