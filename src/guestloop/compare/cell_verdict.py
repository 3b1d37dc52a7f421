# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict on one cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from guestloop.compare.candidate import CandidateVerdict
from guestloop.compare.statuses import Status
from guestloop.results.cells import Cell
from guestloop.results.records import Correctness, Round


@dataclass(frozen=True)
class CellVerdict:
    """What the rounds of one cell say of each measured candidate, by name, in the order of the plan."""

    cell: Cell
    candidates: Mapping[str, CandidateVerdict]
    correctness: Mapping[str, Correctness]
    rounds: tuple[Round, ...]

    @property
    def worst(self) -> CandidateVerdict:
        """The candidate that gives the cell its status and reason; of equally bad ones the first."""
        return min(self.candidates.values(), key=lambda candidate: candidate.status.severity)

    @property
    def status(self) -> Status:
        return self.worst.status

    @property
    def reason(self) -> str:
        return self.worst.reason

    @property
    def evidence(self) -> tuple[str, ...]:
        """Files that the rounds kept, in order, each once."""
        return tuple(dict.fromkeys(path for item in self.rounds for path in item.evidence))
