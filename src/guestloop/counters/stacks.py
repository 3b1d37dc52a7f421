# SPDX-License-Identifier: GPL-2.0-or-later
"""Call stacks as a round keeps them, read again: the inverse of ``render_stacks``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEAD = re.compile(r"(\d+) (\S.*)")


@dataclass(frozen=True)
class Stack:
    """How often a path was taken by one way. ``frames`` are symbols, innermost first."""

    hits: int
    path: str
    frames: tuple[str, ...]

    @property
    def is_flush(self) -> bool:
        """The other requests to all vCPUs have the request before their path: ``scan_ioapic/other:foo``."""
        return "/" not in self.path


def parse_stacks(text: str) -> Iterator[Stack]:
    """The stacks of a file. What is not one, as the end of a file that was cut, is left out."""
    for block in text.split("\n\n"):
        head, *frames = block.strip().splitlines() or [""]
        if found := _HEAD.fullmatch(head):
            yield Stack(int(found[1]), found[2], tuple(frame.strip() for frame in frames))
