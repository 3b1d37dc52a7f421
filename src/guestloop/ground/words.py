# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of ``key=value`` words, as the payload in L2 speaks them."""

from __future__ import annotations


def parse_words(line: str) -> dict[str, str]:
    """``ready pages=4 gva=0x0`` as a dictionary; words without ``=`` are left out."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)
