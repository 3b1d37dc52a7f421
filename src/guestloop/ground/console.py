# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel prints on its console when it dies."""

from __future__ import annotations

import re

PANIC = re.compile(r"Kernel panic|Oops:|kernel BUG at|general protection fault|Attempted to kill init")
"""From kernel/panic.c (panic), arch/x86/kernel/dumpstack.c (__die), lib/bug.c and arch/x86/kernel/traps.c.

All kernels here run with ``oops=panic``.
"""


def find_panic(text: str) -> str:
    """The first message of a panic or oops, without the timestamp before it; empty when there is none."""
    for line in text.splitlines():
        if found := PANIC.search(line):
            return line[found.start() :].strip()
    return ""
