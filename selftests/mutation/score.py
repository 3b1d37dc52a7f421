# SPDX-License-Identifier: GPL-2.0-or-later
"""What the trials of all mutants come to (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mutation.accepted import Accepted
from mutation.trial import Result

LEAST_PERCENT = 90.0
NO_REASON = "nobody has looked at it yet: write a test that notices it, or add it to accepted.toml"


@dataclass(frozen=True)
class Score:
    """All results. Seeded mutants must all be killed; of those drawn at random, 90 % must."""

    results: Sequence[Result]

    @property
    def seeded(self) -> list[Result]:
        return [result for result in self.results if result.mutant.seeded]

    @property
    def drawn(self) -> list[Result]:
        return [result for result in self.results if not result.mutant.seeded]

    @property
    def percent(self) -> float:
        """Share of the drawn mutants that were killed; accepted ones are no exception."""
        return 100 * _killed(self.drawn) / len(self.drawn) if self.drawn else 100.0

    @property
    def good(self) -> bool:
        return _killed(self.seeded) == len(self.seeded) and self.percent >= LEAST_PERCENT

    def render(self, accepted: Sequence[Accepted]) -> str:
        """Who killed the seeded mutants, the survivors with their reasons, and the score."""
        lines = ["", "Seeded mutants:", *(f"  {result.line}" for result in self.seeded), ""]
        survivors = [result for result in self.results if result.survived]
        if survivors:
            lines.append("Survivors:")
        for result in survivors:
            lines += [f"  {result.line}", *(f"    {line}" for line in result.mutant.diff.splitlines())]
            lines += [f"    {_reason(result, accepted)}", ""]
        lines.append(f"seeded: {_killed(self.seeded)} of {len(self.seeded)} killed, all are wanted")
        drawn = f"{_killed(self.drawn)} of {len(self.drawn)} killed"
        lines.append(f"drawn: {drawn} ({self.percent:.1f} %), {LEAST_PERCENT:g} % are wanted")
        return "\n".join(lines)


def _killed(results: Sequence[Result]) -> int:
    return sum(not result.survived for result in results)


def _reason(result: Result, accepted: Sequence[Accepted]) -> str:
    found = next((entry for entry in accepted if entry.means(result.mutant)), None)
    return f"accepted: {found.reason}" if found else NO_REASON
