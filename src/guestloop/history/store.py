# SPDX-License-Identifier: GPL-2.0-or-later
"""The file that a history is kept in: compressed JSON lines, first what it is, then a line for each run."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from guestloop.ground.codec import decode, encode
from guestloop.ground.errors import ConfigError
from guestloop.history.runs import Run
from guestloop.results.files import write_bytes

HEADER = {"guestloop": "history", "version": 1}


@dataclass(frozen=True)
class Merged:
    """What a store holds after runs were added: ``added`` are new, ``grown`` have more rounds than before."""

    runs: tuple[Run, ...]
    added: tuple[Run, ...] = ()
    grown: tuple[Run, ...] = ()

    @property
    def changed(self) -> bool:
        return bool(self.added or self.grown)


def read_store(path: Path) -> tuple[Run, ...]:
    """All runs of a store, the oldest first; none if the file does not exist yet.

    Raises ConfigError for a file that is no store, of another version, or damaged.
    """
    if not path.exists():
        return ()
    try:
        header, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        found = json.loads(header)
        if found == HEADER:
            return tuple(decode(Run, json.loads(line), f"line {at}") for at, line in enumerate(lines, 2))
    except (OSError, EOFError, ValueError) as error:
        message = f"{path}: cannot be read as a history: {type(error).__name__}: {error}"
        raise ConfigError(
            message, hint="name a file that scripts/history wrote, or one that is new"
        ) from error
    raise ConfigError(
        f"{path}: it begins with {found!r:.80}, wanted {HEADER}",
        hint="it was written by another version of guestloop; make it again from the results",
    )


def write_store(path: Path, runs: Iterable[Run]) -> None:
    """Write the file whole or not at all; the same runs make the same bytes."""
    lines = (HEADER, *map(encode, runs))
    text = "".join(f"{json.dumps(line, separators=(',', ':'), allow_nan=False)}\n" for line in lines)
    write_bytes(path, gzip.compress(text.encode(), mtime=0), replace=True)


def merge(known: Sequence[Run], new: Iterable[Run]) -> Merged:
    """Add runs to those that are there. A run that is there with the same rounds, or more, is not added.

    One that was resumed since has more rounds, and takes the place of what is there of it. Raises
    ConfigError if each of both has a round that the other lacks: then one of them is not what was measured.
    """
    runs = {run.id: run for run in known}
    added, grown = {}, {}
    for run in new:
        before, now = (_keys(one) for one in (runs.get(run.id), run))
        if before - now and now - before:
            raise ConfigError(
                f"run {run.id}: {len(before - now)} of its rounds are in the history and not in this result,"
                f" {len(now - before)} the other way round",
                hint="was a file in rounds/ removed or renamed by hand?",
            )
        if run.id not in runs:
            added[run.id] = runs[run.id] = run
        elif now > before:
            runs[run.id] = run
            if run.id not in added:
                grown[run.id] = run
    ordered = tuple(sorted(runs.values(), key=lambda run: (run.started, run.id)))
    return Merged(ordered, tuple(runs[key] for key in added), tuple(grown.values()))


def _keys(run: Run | None) -> set[tuple[str, str, int]]:
    return {(item.cell.id, item.kernel, item.round) for item in run.rounds} if run else set()
