# SPDX-License-Identifier: GPL-2.0-or-later
"""What to say about a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def suggest(seen: str, allowed: Iterable[str], what: str) -> str:
    """Hint for a name that is not known: the closest one, then all."""
    names = sorted(allowed)
    close = get_close_matches(seen, names, n=1)
    did_you = f"did you mean {close[0]!r}? " if close else ""
    return f"{did_you}{what}: {', '.join(names)}"
