# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole ``.config`` of the user, and what has to be laid over it for a kernel to be L1."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from guestloop.config.reading import decode_text, read_file
from guestloop.ground.errors import ConfigError
from guestloop.kernels import kconfig
from guestloop.kernels.kconfig import NOT_SET
from guestloop.sources.text import unpack

ARCHITECTURE = "X86_64"
X86 = "x86"  # which titles have for 32 bits, too

# Files beside the sources, as keys of a distribution. An initramfs would be run in place of L1's root.
_FILES = (
    *("SYSTEM_TRUSTED_KEYS", "SYSTEM_REVOCATION_KEYS", "SYSTEM_BLACKLIST_HASH_LIST"),
    *("EXTRA_FIRMWARE", "INITRAMFS_SOURCE", "ACPI_CUSTOM_DSDT_FILE", "UNUSED_KSYMS_WHITELIST"),
)
_NO_FILES = '""'
_TITLE = re.compile(r"^# Linux/(\S+) \S+ Kernel Configuration", re.MULTILINE)


def read_whole_config(path: Path) -> dict[str, str]:
    """All options of a ``.config``, which may be packed as ``/proc/config.gz``.

    Raises ConfigError if it is for another architecture or has no KVM.
    """
    text = decode_text(unpack(read_file(path), os.fspath(path)), path)
    title = _TITLE.search(text)
    options = kconfig.parse(text, str(path))
    if options.get(ARCHITECTURE, NOT_SET) != "y":
        is_other = title and title[1] != X86
        seen = f"is for {title[1]}" if title and is_other else f"does not say CONFIG_{ARCHITECTURE}=y"
        raise ConfigError(
            f"{path}: a whole .config for x86_64 was wanted, this {seen}",
            hint="'make olddefconfig' makes a whole one; a fragment goes into a kernel's file (config:)",
        )
    if options.get("KVM", NOT_SET) == NOT_SET:
        raise ConfigError(
            f"{path}: a kernel without KVM: CONFIG_KVM is not set in it",
            hint="L1 runs guests; set CONFIG_KVM=m with CONFIG_KVM_AMD=m and CONFIG_KVM_INTEL=m",
        )
    return options


def without_files(options: Mapping[str, str]) -> dict[str, str]:
    """The options without those that name files: they need not be here, and nothing here needs them."""
    return {name: _NO_FILES if name in _FILES else value for name, value in options.items()}


def laid_over(whole: Mapping[str, str], over: Mapping[str, str]) -> tuple[str, ...]:
    """What is changed of a ``.config`` by options that are laid over it: ``CONFIG_KVM: y -> m`` (pure)."""
    wanted = {**{name: _NO_FILES for name in _FILES if name in whole}, **over}
    changed = {name: value for name, value in wanted.items() if whole.get(name, NOT_SET) != value}
    return tuple(
        f"CONFIG_{name}: {whole.get(name, NOT_SET)} -> {value}" for name, value in sorted(changed.items())
    )
