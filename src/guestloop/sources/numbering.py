# SPDX-License-Identifier: GPL-2.0-or-later
"""``[PATCH v2 3/7]``: which set of patches a mail says that it belongs to, and where in it (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_REPLY = re.compile(r"\s*(?:re|aw|fwd?|sv|antw)\s*:", re.IGNORECASE)
_PREFIXES = re.compile(r"\s*(?:\[[^\]]*\]\s*)*")
_VERSION = re.compile(r"\bv(\d+)\b", re.IGNORECASE)
_NUMBER = re.compile(r"\b(\d+)\s*/\s*(\d+)\b")


@dataclass(frozen=True)
class Numbered:
    """What a subject says: the title without prefixes, version, number and total (0: not said)."""

    title: str
    version: int
    number: int
    total: int
    is_reply: bool

    @property
    def is_cover(self) -> bool:
        return self.total > 0 and self.number == 0

    @property
    def set(self) -> tuple[int, int]:
        """What the patches of one posting have in common."""
        return self.version, self.total

    def __str__(self) -> str:
        version = f" v{self.version}" if self.version > 1 else ""
        return f"[PATCH{version} {self.number}/{self.total}]"


def parse_subject(subject: str) -> Numbered:
    """Read the prefixes of a subject."""
    reply = _REPLY.match(subject)
    rest = subject[reply.end() :] if reply else subject
    prefixes = _PREFIXES.match(rest)
    assert prefixes is not None  # it matches nothing, too
    version, number = _VERSION.search(prefixes[0]), _NUMBER.search(prefixes[0])
    return Numbered(
        title=rest[prefixes.end() :].strip(),
        version=int(version[1]) if version else 1,
        number=int(number[1]) if number else 0,
        total=int(number[2]) if number else 0,
        is_reply=bool(reply),
    )


def slug(title: str) -> str:
    """A title as ``git format-patch`` makes a file name of it."""
    return re.sub(r"[^\w.]+", "-", title).strip("-.")[:52].rstrip("-.") or "patch"
