# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes files unfit to be kept: a kernel that no machine can run as L1."""

from __future__ import annotations

import re

from guestloop.ground.errors import ConfigError
from guestloop.kernels import kconfig
from guestloop.kernels.existing import requirements
from guestloop.kernels.existing.layout import Layout

_BANNER = re.compile(r"^# Linux/(\S+)", re.MULTILINE)


def check_kernel(layout: Layout, what: str) -> None:
    """Raise ConfigError for a kernel that is too old, for another architecture, or without KVM."""
    requirements.check_release(layout.release, what)
    text = layout.config.read_text(errors="replace")
    options = kconfig.parse(text, f"{what}: {layout.config.name}")
    if options.get("X86_64") != requirements.BUILT_IN:
        banner = _BANNER.search(text)
        seen = f"Linux/{banner[1]}" if banner else "no CONFIG_X86_64=y"
        raise ConfigError(f"{what}: a kernel for x86-64 was wanted, its configuration says: {seen}")
    requirements.check_kvm(options, what)
