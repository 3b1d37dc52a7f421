# SPDX-License-Identifier: GPL-2.0-or-later
"""``scripts/run --host``: begin a run on a host, or pick up the one that the same words have begun."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

from guestloop.cache import Cache
from guestloop.config import REPOSITORY
from guestloop.ground.errors import ConfigError, Exit, LabError
from guestloop.ground.log import say
from guestloop.job.options import Options
from guestloop.job.run import check_directory, new_directory
from guestloop.remote.address import Where, parse_where
from guestloop.remote.baggage import Baggage, collect, limit_words
from guestloop.remote.checkout import read_checkout
from guestloop.remote.journey import Journey
from guestloop.remote.record import Record, read_record, write_record
from guestloop.remote.ssh import connect

RESULTS = Path("results")


def run_on_host(options: Options, where: Where) -> int:
    """Run there, and bring the results home. Raises GuestloopError when it cannot."""
    _check_directory(options.out)
    cache = Cache()
    baggage = collect(options, cache)
    out, record = _find_open(options.out, where, baggage) or _new(options.out, where, baggage)
    same = Baggage(record.request, baggage.contents)  # by the id of the run that was begun before
    return _journey(out, record, where, cache, same).go()


def resume_on_host(out: Path, limit: Options, where: Where | None) -> int:
    """Bring home what is not here yet; if all is, or a limit is given, have the run go on there.

    ``limit`` are options of which only those count that can be new. Raises ConfigError for what was not
    measured on a host.
    """
    out = out.absolute()
    record = read_record(out)
    if record is None:
        raise ConfigError(
            f"--resume {out}: it was not measured on another host", hint="go on with it without --host"
        )
    where = where or parse_where(record.host, record.directory or None)
    assert where  # of the record
    cache, words = Cache(), tuple(limit_words(limit))
    if not record.home:
        status = _journey(out, record, where, cache).go()
        if status == Exit.INTERRUPTED or not (limit.rounds or limit.budget_s):
            return status
        record = read_record(out) or record
    going_on = record.next_attempt(words)
    write_record(out, going_on)
    return _journey(out, going_on, where, cache).go()


def _journey(
    out: Path, record: Record, where: Where, cache: Cache, baggage: Baggage | None = None
) -> Journey:
    return Journey(out, record, lambda: connect(where.address), read_checkout(REPOSITORY), cache, baggage)


def _new(wanted: Path | None, where: Where, baggage: Baggage) -> tuple[Path, Record]:
    out = new_directory(wanted)
    record = Record(str(where.address), baggage.request, where.directory)
    write_record(out, record, replace_old=False)
    return out, record


def _find_open(wanted: Path | None, where: Where, baggage: Baggage) -> tuple[Path, Record] | None:
    """The run of the same words on the same host that is not at home yet, if there is one.

    Raises ConfigError when the directory for results is that of another run.
    """
    for out, record in _records(wanted):
        if (record.host, record.request.identity) == (str(where.address), baggage.request.identity):
            say(f"==> {out}: the same command has begun on {record.host} before; picked up")
            return out, record
        if wanted:
            raise ConfigError(
                f"--out {wanted}: another run on {record.host} has begun there, and is not at home yet",
                hint=f"--resume {wanted} brings it home; or name another directory",
            )
    return None


def _check_directory(wanted: Path | None) -> None:
    """As for any run, but that one with a run on a host that is not at home yet can be gone on with."""
    record = read_record(wanted) if wanted else None
    if record is None or record.home:
        check_directory(wanted)


def _records(wanted: Path | None) -> Iterator[tuple[Path, Record]]:
    """Those of the directory that is wanted, or of all that have no other place."""
    directories = [wanted] if wanted else sorted(RESULTS.glob("*/"), reverse=True)
    for directory in directories:
        with suppress(LabError) if wanted is None else nullcontext():
            if (record := read_record(directory)) and not record.home:
                yield directory.absolute(), record
