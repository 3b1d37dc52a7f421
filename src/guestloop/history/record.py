# SPDX-License-Identifier: GPL-2.0-or-later
"""``scripts/history``: results are added to a history, and its table and page are made anew."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from guestloop.ground.errors import ConfigError, Exit
from guestloop.ground.log import say
from guestloop.ground.words import plural
from guestloop.history.page import render_history
from guestloop.history.runs import Run, reduce_result
from guestloop.history.scatter import keep
from guestloop.history.store import Merged, merge, read_store, write_store
from guestloop.history.table import render_table
from guestloop.job.calibration import load_calibration
from guestloop.report import read_result
from guestloop.results.files import locked, write_bytes

PAGE, TABLE = "history.html", "history.csv"
MADE = {PAGE: render_history, TABLE: render_table}
"""By the name of the file."""

OWN = Path("results/history")
"""Where table and page go if nothing is said."""


@dataclass(frozen=True)
class Wanted:
    """Results to add, the file that keeps them (None: they are not kept), and where to write what is made.

    ``out`` is None for the directory of ``store``, or OWN if there is none. ``calibration`` is where rounds
    are kept for verdicts to learn from; None: they are not.
    """

    directories: tuple[Path, ...]
    store: Path | None = None
    out: Path | None = None
    calibration: Path | None = None

    @property
    def into(self) -> Path:
        return self.out or (self.store.parent if self.store else OWN)


def record(wanted: Wanted) -> Exit:
    """Add, then render. Raises ConfigError for what is no result, or no history, and adds nothing then."""
    if not wanted.directories and not (wanted.store and wanted.store.exists()):
        raise ConfigError("there is no result to make a history of", hint="name result directories")
    new = [reduce_result(read_result(out)) for out in wanted.directories]
    with locked(wanted.store.parent) if wanted.store else nullcontext():
        merged = merge(read_store(wanted.store) if wanted.store else (), new)
        if wanted.store and merged.changed:
            write_store(wanted.store, merged.runs)
    say(f"==> {_describe(merged, new)}")
    into = wanted.into
    for name, render in MADE.items():
        write_bytes(into / name, render(merged.runs, load_calibration).encode(), replace=True)
        say(f"==> {into / name}")
    for path in keep(merged.runs, wanted.calibration) if wanted.calibration else ():
        say(f"==> {path}")
    return Exit.OK


def _describe(merged: Merged, new: Sequence[Run]) -> str:
    """``3 results: 1 added, 1 with more rounds than before, 1 there already; 4 in the history``."""
    added, grown = len(merged.added), len(merged.grown)
    there = len(new) - added - grown
    said = [
        f"{added} added",
        f"{grown} with more rounds than before" if grown else "",
        f"{there} there already" if there else "",
    ]
    return f"{plural(len(new), 'result')}: {', '.join(filter(None, said))}; {len(merged.runs)} in the history"
