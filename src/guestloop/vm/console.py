# SPDX-License-Identifier: GPL-2.0-or-later
"""Read a guest's console file as it grows: markers to wait for, panics and warnings to report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from guestloop.ground.console import PANIC, find_panic

WARNING = re.compile(r"WARNING: |BUG: |INFO: task .* blocked|rcu: INFO: .*stall|soft lockup|Call Trace:")
COMPLAINT = re.compile(f"{PANIC.pattern}|{WARNING.pattern}")


class Console:
    """The console file of one guest, which QEMU writes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def text(self) -> str:
        """All of it so far; empty when QEMU has not made the file yet."""
        return self.path.read_text(errors="replace") if self.path.exists() else ""

    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def has(self, marker: str) -> bool:
        return marker in self.text()

    def tail(self, lines: int = 25) -> str:
        """Its end, indented, for a message."""
        return "\n".join(f"  console | {line}" for line in self.text().splitlines()[-lines:])

    def panic(self) -> str:
        """The first message of a panic or oops; empty when there is none."""
        return find_panic(self.text())

    def line_with(self, words: Sequence[str]) -> str:
        """The first line with one of these words, without the timestamp before it; or nothing."""
        for line in self.text().splitlines():
            if found := next((word for word in words if word in line), None):
                return line[line.index(found) :].strip()
        return ""

    def warnings(self) -> list[str]:
        """Lines in which the kernel complains, panics included."""
        return [line.strip() for line in self.text().splitlines() if COMPLAINT.search(line)]
