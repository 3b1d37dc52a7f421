# SPDX-License-Identifier: GPL-2.0-or-later
"""Words: lines of ``key=value`` as the payload in L2 speaks them, and nouns with a number."""

from __future__ import annotations

import re
from collections.abc import Sequence


def parse_words(line: str) -> dict[str, str]:
    """``ready pages=4 gva=0x0`` as a dictionary; words without ``=`` are left out."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def plural(number: int, noun: str, many: str = "") -> str:
    """``1 cell``, ``2 cells``; ``many`` is for nouns that do not just take an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {many or noun + 's'}"


def listed(texts: Sequence[str], most: int) -> str:
    """``a, b and 3 more``: the first ``most`` of them."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def printable(text: str) -> str:
    """``text`` on one line, with escapes for what cannot be printed and a terminal might obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def file_name(text: str, otherwise: str) -> str:
    """``text`` as part of a file name on any system: ASCII without blanks, at most 64 characters."""
    kept = re.sub(r"[^A-Za-z0-9_.+~-]+", "-", text).strip("-.~")
    return kept[:64].rstrip("-.~") or otherwise
