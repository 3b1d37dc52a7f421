# SPDX-License-Identifier: GPL-2.0-or-later
"""Rounds of good kernels, each against itself, kept in one compressed file: what calibration rests on.

A file is of one class, because rounds of another accelerator or with another L2 scatter otherwise. Of each
round only what is compared is kept: neither phases nor facts nor texts.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from guestloop.ground.codec import decode
from guestloop.ground.errors import LabError
from guestloop.results.files import write_bytes
from guestloop.results.plan import Plan
from guestloop.results.records import Outcome, Round, parse_round
from guestloop.results.sizes import USUAL, Sizes

T = TypeVar("T")

SUFFIX = ".jsonl.gz"
DROPPED = ("phases", "facts", "findings", "evidence", "reason", "absent_paths")


@dataclass(frozen=True)
class RunClass:
    """What runs must have in common for their rounds to scatter alike.

    ``l2_base`` and ``l2_config_sha256`` are those of the kernel of every L2. How many labs measured side by
    side is not of it: each has CPUs and memory of its own.
    """

    accelerator: str
    l2_base: str
    l2_config_sha256: str
    sizes: Sizes = USUAL

    @classmethod
    def of(cls, plan: Plan) -> RunClass:
        """That of a run."""
        l2 = plan.l2_kernel
        known = (l2.base, l2.config_sha256) if l2 else ("", "")
        return cls(plan.accelerator, *known, plan.sizes)

    def __str__(self) -> str:
        """For people."""
        l2 = f"{self.l2_base}, configuration {self.l2_config_sha256[:8]}" if self.l2_base else "not recorded"
        sizes = "" if self.sizes == USUAL else f", {self.sizes}"
        return f"{self.accelerator}, L2 {l2}{sizes}"


@dataclass(frozen=True)
class GoodRound:
    """A measured round, and in which sitting: rounds of one kernel in one sitting share its boots.

    Rounds of one ``build`` are of one kernel, whatever it was called; empty in a file that has but one.
    """

    sitting: str
    round: Round
    build: str = ""

    @property
    def boot(self) -> str:
        """Rounds with the same boot ran in one boot of one L1."""
        return f"{self.sitting}/{self.round.kernel}/{self.round.boot}"


def write_good_rounds(path: Path, run_class: RunClass, rounds: Iterable[GoodRound]) -> None:
    """Write the file whole or not at all; the same rounds make the same bytes."""
    lines = [asdict(run_class), *(_stored(item) for item in rounds)]
    text = "".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in lines)
    write_bytes(path, gzip.compress(text.encode(), mtime=0), replace=True)


def read_class(path: Path) -> RunClass:
    """The class of a file. Raises LabError when it is damaged."""
    return _reading(path, lambda lines: decode(RunClass, json.loads(next(lines))))


def read_good_rounds(path: Path) -> list[GoodRound]:
    """All rounds of a file. Raises LabError when it is damaged."""

    def parse(lines: Iterator[str]) -> list[GoodRound]:
        next(lines)
        return [_parse(json.loads(line)) for line in lines]

    return _reading(path, parse)


def find_good_rounds(run_class: RunClass, directories: Iterable[Path]) -> Path | None:
    """The file of this class in the first of these directories that has one."""
    for directory in directories:
        for path in sorted(directory.glob(f"*{SUFFIX}")):
            if read_class(path) == run_class:
                return path
    return None


def good_rounds(sitting: str, rounds: Iterable[Round], cells: Collection[str] = ()) -> list[GoodRound]:
    """Those of a run that were measured and went well, of all cells or of these."""
    return [
        GoodRound(sitting, item)
        for item in rounds
        if item.outcome is Outcome.MEASURED
        and not item.is_wrong
        and not item.is_invalid
        and (not cells or item.cell.id in cells)
    ]


def by_cell(good: Iterable[GoodRound]) -> list[list[Round]]:
    """The rounds of each cell, of each build."""
    cells: dict[tuple[str, str], list[Round]] = {}
    for item in good:
        cells.setdefault((item.round.cell.id, item.build), []).append(item.round)
    return list(cells.values())


def _stored(item: GoodRound) -> dict[str, Any]:
    data = asdict(item.round)
    build = {"build": item.build} if item.build else {}
    return {
        "sitting": item.sitting,
        **build,
        **{key: value for key, value in data.items() if key not in DROPPED},
    }


def _parse(data: Mapping[str, Any]) -> GoodRound:
    fields = dict(data)
    sitting, build = fields.pop("sitting"), fields.pop("build", "")
    return GoodRound(sitting, parse_round({"phases": {}, "findings": (), **fields}), build)


def _reading(path: Path, parse: Callable[[Iterator[str]], T]) -> T:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            return parse(lines)
    except (OSError, EOFError, ValueError, LookupError, TypeError, StopIteration) as error:
        message = f"{path}: cannot be read as rounds of good kernels: {type(error).__name__}: {error}"
        raise LabError(message, hint="is it damaged, or of another version of guestloop?") from error
