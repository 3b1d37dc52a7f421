# SPDX-License-Identifier: GPL-2.0-or-later
"""Mutants that are written down in seeded.toml: faults that once passed all tests."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from guestloop.ground.errors import ConfigError
from mutation.mutants import Mutant

SEEDED = Path(__file__).with_name("seeded.toml")


@dataclass(frozen=True)
class Patch:
    """Replaces ``old``, which is in ``file`` exactly once, by ``new``."""

    file: str
    old: str
    new: str
    what: str

    def apply(self, tree: Path) -> Mutant:
        """The mutant. Raises ConfigError when ``old`` is not in the file exactly once."""
        before = (tree / self.file).read_text()
        if (count := before.count(self.old)) != 1:
            raise ConfigError(
                f"seeded mutant '{self.what}': its text is in {self.file} {count} times, once was wanted",
                hint=f"bring {SEEDED.name} up to date; it looks for:\n{self.old}",
            )
        return Mutant(self.file, before, before.replace(self.old, self.new), self.what, seeded=True)


def read_patches(path: Path = SEEDED) -> list[Patch]:
    """All seeded mutants. Raises TypeError for an entry that lacks a key or has another."""
    return [Patch(**entry) for entry in tomllib.loads(path.read_text())["mutant"]]
