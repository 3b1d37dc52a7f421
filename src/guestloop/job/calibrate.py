# SPDX-License-Identifier: GPL-2.0-or-later
"""``scripts/calibrate``: measure a good kernel against itself, keep the rounds, count what they promise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from guestloop.compare.resampling import FACTORS, Resampled, resample
from guestloop.compare.statements import Weight
from guestloop.ground.errors import ConfigError, Exit
from guestloop.ground.log import say
from guestloop.ground.words import plural
from guestloop.job.calibration import gather, store
from guestloop.job.options import Options
from guestloop.job.run import run
from guestloop.report import VERDICT_FILE
from guestloop.results.good_rounds import GoodRound, by_cell, read_class, read_good_rounds
from guestloop.results.plan import PLAN_FILE

LEAST_ROUNDS = 4
"""So many rounds of a cell there must be to learn from one half and to draw from the other."""


@dataclass(frozen=True)
class Calibrating:
    """What to calibrate. ``options`` are those of each sitting, a run of one kernel against itself.

    ``directory`` holds the sittings, ``sittings`` is how many there are to be; those that are there already
    are not measured again. If it is a file of good rounds nothing is measured. ``store_in`` is where the
    rounds are kept; None: they are not. ``runs`` are drawn to count what the judgement promises.
    """

    directory: Path
    options: Options
    sittings: int
    store_in: Path | None
    runs: int


def calibrate(wanted: Calibrating) -> Exit:
    """Measure what is missing, keep the rounds, print the table. Raises GuestloopError when it cannot."""
    if wanted.directory.is_file():
        file = wanted.directory
        good = read_good_rounds(file)
        say(f"==> {plural(len(good), 'good round')} of {file.name}: {read_class(file)}")
    else:
        if (status := _measure(wanted)) is not Exit.OK:
            return status
        good = _gather(wanted)
    most = max((len(own) for own in by_cell(good)), default=0)
    counts = [number for number in (1, 2, 4, 8) if number * LEAST_ROUNDS <= most]
    print("\n".join(render([resample(good, rounds, wanted.runs) for rounds in counts])), flush=True)
    return Exit.OK


def _measure(wanted: Calibrating) -> Exit:
    for number in range(1, wanted.sittings + 1):
        out = wanted.directory / str(number)
        if (out / VERDICT_FILE).exists():
            continue
        if (out / PLAN_FILE).exists():
            raise ConfigError(
                f"{out}: this sitting was interrupted", hint="remove it, and it is measured again"
            )
        say(f"==> sitting {number} of {wanted.sittings}: {out}")
        status = run(replace(wanted.options, out=out))
        if status is Exit.INTERRUPTED:
            return status
    return Exit.OK


def _gather(wanted: Calibrating) -> list[GoodRound]:
    sittings = sorted(path.parent for path in wanted.directory.glob(f"*/{PLAN_FILE}"))
    if not sittings:
        raise ConfigError(f"{wanted.directory}: there is no run in it", hint="ask for --sittings 1 or more")
    run_class, good = gather(sittings)
    say(f"==> {plural(len(good), 'good round')} of {plural(len(sittings), 'sitting')}: {run_class}")
    if wanted.store_in:
        say(f"==> kept in {store(run_class, good, wanted.store_in)}")
    return good


def render(results: list[Resampled]) -> list[str]:
    """The table for docs/method-judging.md, in Markdown."""
    effects = [f"{100 * (factor - 1):+.0f} %" for factor in FACTORS]
    heads = [f"{effect}, {weight}" for weight in (Weight.JUDGED, Weight.OTHER) for effect in effects]
    head = ["rounds", "runs", "false", "open cells a run", *heads]
    return [_row(head), _row(["---"] * len(head)), *(_row(_cells(one)) for one in results), *_alarms(results)]


def _cells(one: Resampled) -> list[str]:
    powers = [one.power(weight, factor) for weight in (Weight.JUDGED, Weight.OTHER) for factor in FACTORS]
    shown = ["-" if power is None else f"{100 * power:.0f} %" for power in powers]
    return [str(one.rounds), str(one.runs), str(one.false_runs), f"{one.open_cells:.1f}", *shown]


def _alarms(results: list[Resampled]) -> Iterator[str]:
    for one in results:
        for said, number in one.alarms.most_common():
            yield f"false with {plural(one.rounds, 'round')}, {number} times: {said}"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
