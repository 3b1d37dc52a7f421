# SPDX-License-Identifier: GPL-2.0-or-later
"""How a status looks: a sign, its own word, and a class that gives it a colour and a border.

What is wrong is told apart without colour too: only ``broken`` and ``more`` are white on dark.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from guestloop.compare import KernelState, Overall, Status

SIGNS: Mapping[str, str] = {
    Status.BROKEN: "✕",
    Status.MORE: "▲",
    Status.UNEXPLAINED: "!",
    Status.INCONCLUSIVE: "?",
    Status.INVALID: "∅",
    Status.SKIPPED: "\N{EN DASH}",
    Status.MOVED: "⇄",
    Status.SAME: "=",
    Status.CANNOT_DIFFER: "≡",
    Status.FEWER: "▼",
    Status.FIXED: "✓",
    Overall.REGRESSION: "✕",
    Overall.UNSTABLE: "!",
    Overall.NOTHING_MEASURED: "∅",
    Overall.NO_REGRESSION: "✓",
    KernelState.NOT_APPLIED: "!",
    KernelState.NOT_BUILT: "✕",
    KernelState.NOT_BOOTED: "✕",
    "late": "!",
}


@dataclass(frozen=True)
class Badge:
    """A status to be shown: ``kind`` is its class, ``word`` what is read."""

    kind: str
    word: str

    @property
    def sign(self) -> str:
        return SIGNS[self.kind]


def badge(status: Status | Overall | KernelState | str) -> Badge:
    """``cannot-differ`` is read as ``cannot differ``."""
    return Badge(str(status), status.replace("-", " "))


def letters(kernels: Iterable[str]) -> dict[str, str]:
    """A letter for each kernel, by name; past Z its number."""
    known = string.ascii_uppercase
    return {
        name: known[index] if index < len(known) else str(index + 1) for index, name in enumerate(kernels)
    }
