# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines for a terminal: as wide as fits, and coloured where that is wanted."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable

from guestloop.compare import Overall, Status

COLUMNS = 110

GREEN = 32
RED = 31
YELLOW = 33

_COLOURS = re.compile(r"\033\[\d+m")
_OVERALL = {Overall.REGRESSION: RED, Overall.NO_REGRESSION: GREEN}


def fit(text: str, indent: str = "", hang: str | None = None) -> list[str]:
    """Break a text at spaces into lines of at most COLUMNS, escapes not counted; long words stay whole.

    ``indent`` begins the first line, ``hang`` the others, which is ``indent`` too if it is not given.
    """
    lines, current, begun = [], indent, False
    for word in text.split(" "):
        joined = f"{current} {word}" if begun else f"{current}{word}"
        if begun and len(_COLOURS.sub("", joined)) > COLUMNS:
            lines.append(current)
            joined = f"{indent if hang is None else hang}{word}"
        current, begun = joined, True
    return [*lines, current]


def paint(word: str, code: int) -> str:
    """A word in a colour."""
    return f"\033[{code}m{word}\033[0m"


def paint_status(status: Status, text: str = "") -> str:
    """A status, or ``text`` in its colour."""
    calm = GREEN if status.measured and not status.undecided else YELLOW
    return paint(text or status, RED if status.regression else calm)


def paint_answer(overall: Overall, answer: str) -> str:
    """An answer, whose first word is the verdict."""
    word, separator, rest = answer.partition(":")
    return paint(word, _OVERALL.get(overall, YELLOW)) + separator + rest


def letters(kernels: Iterable[str]) -> dict[str, str]:
    """A letter for each kernel, by name, as the reference is A; past Z its number."""
    known = string.ascii_uppercase
    return {
        name: known[index] if index < len(known) else str(index + 1) for index, name in enumerate(kernels)
    }
