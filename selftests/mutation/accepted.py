# SPDX-License-Identifier: GPL-2.0-or-later
"""Survivors that somebody has looked at and found no fault of the tests, in accepted.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from mutation.mutants import Mutant

ACCEPTED = Path(__file__).with_name("accepted.toml")


@dataclass(frozen=True)
class Accepted:
    """A mutant by the lines that it changes, in which space does not matter, and why it may survive."""

    file: str
    old: str
    new: str
    reason: str

    def means(self, mutant: Mutant) -> bool:
        """Whether this is that mutant."""
        change = _spaceless(self.old), _spaceless(self.new)
        return (self.file, *change) == (mutant.path, *map(_spaceless, mutant.change))

    def is_in(self, tree: Path) -> bool:
        """Whether the file still has the lines that would be changed."""
        return _spaceless(self.old) in _spaceless((tree / self.file).read_text())


def _spaceless(text: str) -> str:
    return "".join(text.split())


def read_accepted(path: Path = ACCEPTED) -> list[Accepted]:
    """All entries. Raises TypeError for one that lacks a key or has another."""
    return [Accepted(**entry) for entry in tomllib.loads(path.read_text()).get("survivor", [])]
