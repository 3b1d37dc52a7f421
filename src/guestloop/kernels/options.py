# SPDX-License-Identifier: GPL-2.0-or-later
"""Options of a kernel's configuration that bear on what is measured, for a report of what differs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

# What KVM, the memory management below it and the scheduling of vCPUs are built as.
TELLING = re.compile(
    "|".join(
        (
            "KVM.*|HAVE_KVM.*|VIRTUALIZATION|PARAVIRT.*|X86_5LEVEL|PGTABLE_LEVELS|CPU_MITIGATIONS",
            "PREEMPT.*|HZ|HZ_\\d+|NO_HZ.*|SCHED_CORE|RCU_.*|JUMP_LABEL|RANDOMIZE_(BASE|MEMORY)",
            "TRANSPARENT_HUGEPAGE.*|READ_ONLY_THP_FOR_FS|LRU_GEN.*|DAMON.*|KSM|NUMA|NUMA_BALANCING.*",
            "ZSWAP.*|SWAP|MEMCG.*|COMPACTION|MIGRATION|USERFAULTFD|IDLE_PAGE_TRACKING|PER_VMA_LOCK",
            "DEBUG_VM.*|DEBUG_PAGEALLOC.*|KASAN.*|KCSAN|LOCKDEP|PROVE_.*|INIT_ON_.*|PAGE_POISONING",
            "UNWINDER_.*|CC_OPTIMIZE_FOR_.*|LTO.*|CFI.*",
        )
    )
)

_SET = re.compile(r"^CONFIG_(\w+)=(.*)$", re.MULTILINE)


def telling_options(config: Path) -> dict[str, str]:
    """The telling options that a configuration sets, by name without ``CONFIG_``; none without the file."""
    return pick(config.read_text(errors="replace")) if config.is_file() else {}


def pick(text: str) -> dict[str, str]:
    """The telling options in the text of a ``.config`` file (pure)."""
    found: Mapping[str, str] = dict(_SET.findall(text))
    return {name: value for name, value in sorted(found.items()) if TELLING.fullmatch(name)}
