# SPDX-License-Identifier: GPL-2.0-or-later
"""The functions of KVM in the running kernel, by name (/proc/kallsyms, kernel/kallsyms.c: s_show)."""

from __future__ import annotations

import re
from pathlib import Path

KALLSYMS = Path("/proc/kallsyms")

_MODULE = b"\t[kvm"
# Address, type (of a function: t or w, in capitals when it is global), name, module. The name may have
# suffixes of the compiler: .isra.0, .part.0, .constprop.0, .cold.
_FUNCTION = re.compile(rb"^[0-9a-f]+ [tTwW] ([^.\s]+)\S*\t\[kvm", re.MULTILINE)


def read_functions(path: Path = KALLSYMS) -> frozenset[str]:
    """Functions of the modules kvm, kvm_amd and kvm_intel that are loaded, without the compiler's suffixes.

    Empty in a kernel without CONFIG_KALLSYMS. A function that was inlined everywhere is not there either.
    """
    if not path.exists():
        return frozenset()
    text = path.read_bytes()
    # Modules come last: the symbols of the kernel itself, 200,000 in a distribution's, are not looked at.
    start = text.rfind(b"\n", 0, max(text.find(_MODULE), 0)) + 1
    return frozenset(name.decode() for name in _FUNCTION.findall(text, start))
