# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole ``.config`` of the user, and what has to be laid over it for a kernel to be L1."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from guestloop.ground.errors import ConfigError
from guestloop.kernels import kconfig
from guestloop.kernels.kconfig import NOT_SET

ARCHITECTURE = "X86_64"

# Files with keys, which are beside a distribution's sources and not in them.
_KEYS = ("SYSTEM_TRUSTED_KEYS", "SYSTEM_REVOCATION_KEYS")
_NO_KEYS = '""'
_TITLE = re.compile(r"^# Linux/(\S+) \S+ Kernel Configuration", re.MULTILINE)


def read_whole_config(path: Path) -> dict[str, str]:
    """All options of a ``.config``. Raises ConfigError if it is for another architecture or has no KVM."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a .config: {error}") from error
    title = _TITLE.search(text)
    options = kconfig.parse(text, str(path))
    if options.get(ARCHITECTURE, NOT_SET) != "y":
        seen = f"is for {title[1]}" if title else f"does not say CONFIG_{ARCHITECTURE}=y"
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


def without_keys(options: Mapping[str, str]) -> dict[str, str]:
    """The options with no files of keys in them."""
    return {name: _NO_KEYS if name in _KEYS else value for name, value in options.items()}


def laid_over(whole: Mapping[str, str], over: Mapping[str, str]) -> tuple[str, ...]:
    """What is changed of a ``.config`` by options that are laid over it: ``CONFIG_KVM: y -> m`` (pure)."""
    wanted = {**{name: _NO_KEYS for name in _KEYS if name in whole}, **over}
    changed = {name: value for name, value in wanted.items() if whole.get(name, NOT_SET) != value}
    return tuple(
        f"CONFIG_{name}: {whole.get(name, NOT_SET)} -> {value}" for name, value in sorted(changed.items())
    )
