# SPDX-License-Identifier: GPL-2.0-or-later
"""What L1's kernel was told at boot, and what it made of that: read back, as kernels differ in it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from guestloop.agent.kvm import cpu_flags

_CHOSEN = re.compile(r"\(([^)]*)\)")
_COMPILER = re.compile(r"^Linux version \S+ \([^)]*\) \((.*)\) #")
_MODEL = re.compile(r"\bPREEMPT\w*")
UNKNOWN = "not told"


def read_boot_facts(root: Path = Path("/")) -> dict[str, str]:
    """The facts by name; ``root`` is where /proc and /sys are."""
    return {
        "compiler": compiler(_read(root / "proc/version")),
        "command_line": _read(root / "proc/cmdline"),
        "page_table_levels": page_table_levels(),
        "mitigations": mitigations(root / "sys/devices/system/cpu/vulnerabilities"),
        "preemption": preemption(root / "sys/kernel/debug/sched/preempt", os.uname().version),
        "clocksource": _read(root / "sys/devices/system/clocksource/clocksource0/current_clocksource"),
    }


def compiler(version: str) -> str:
    """Of ``Linux version RELEASE (USER@HOST) (COMPILER, LINKER) #...`` (init/version.c)."""
    found = _COMPILER.search(version)
    return found[1] if found else UNKNOWN


def page_table_levels() -> str:
    """A kernel that does not use five levels clears the CPU's flag (arch/x86/kernel/cpu/common.c)."""
    return "5" if "la57" in cpu_flags() else "4"


def mitigations(directory: Path) -> str:
    """Names of the vulnerabilities that are mitigated, or ``off`` (drivers/base/cpu.c)."""
    active = [path.name for path in sorted(directory.glob("*")) if "Mitigation:" in path.read_text()]
    return " ".join(active) or "off"


def preemption(chosen: Path, version: str) -> str:
    """The model that is in force (kernel/sched/debug.c), else the one of the build (``uname -v``)."""
    if found := _CHOSEN.search(_read(chosen)):
        return found[1]
    built = _MODEL.search(version)
    return built[0].lower() if built else "none or voluntary"


def _read(path: Path) -> str:
    return path.read_text().strip() if path.exists() else UNKNOWN
