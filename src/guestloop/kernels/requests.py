# SPDX-License-Identifier: GPL-2.0-or-later
"""Read the number of a KVM request from the source, because it differs between kernel versions."""

from __future__ import annotations

import re
from pathlib import Path

from guestloop.ground.errors import LabError

HEADER = Path("include/linux/kvm_host.h")
_FLAG = re.compile(r"^#define\s+(KVM_REQUEST_\w+)\s+BIT\((\d+)\)", re.M)
_FLUSH = re.compile(r"^#define\s+KVM_REQ_TLB_FLUSH\s+\((\d+)((?:\s*\|\s*KVM_REQUEST_\w+)*)\)", re.M)


def flush_request(source: Path) -> int:
    """Return KVM_REQ_TLB_FLUSH of a kernel tree. Raises LabError if its definition cannot be parsed."""
    return parse_flush_request((source / HEADER).read_text())


def parse_flush_request(header: str) -> int:
    """Return KVM_REQ_TLB_FLUSH from the text of include/linux/kvm_host.h, with its flags."""
    flags = {name: 1 << int(bit) for name, bit in _FLAG.findall(header)}
    found = _FLUSH.search(header)
    if not found:
        raise LabError(f"{HEADER}: no definition of KVM_REQ_TLB_FLUSH that can be parsed")
    value = int(found[1])
    for name in re.findall(r"KVM_REQUEST_\w+", found[2]):
        if name not in flags:
            raise LabError(f"{HEADER}: KVM_REQ_TLB_FLUSH uses {name}, which is not defined as BIT(n)")
        value |= flags[name]
    return value
