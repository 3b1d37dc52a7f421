# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: ``guestloop run``, ``compare``, ``report`` and so on; scripts/ call these.

Each command imports what it needs when it runs, so that ``--list`` and ``--help`` answer at once.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from guestloop.ground.errors import ConfigError, Exit, GuestloopError
from guestloop.ground.isolated import settle
from guestloop.history.options import add_options
from guestloop.machines.choice import AUTO, KINDS
from guestloop.options import add_calibrate, add_change, add_doctor, count, names, path, word
from guestloop.remote.options import RECORD_FILE
from guestloop.remote.options import add_options as add_host_options
from guestloop.results.cells import Mmu

if TYPE_CHECKING:
    from guestloop.cache import Cache
    from guestloop.job.options import Options
    from guestloop.remote.address import Where
    from guestloop.remote.there.runs import Run

RESUMED = frozenset({"resume", "rounds", "budget", "labs", "no_wait", "verbose", "words", "host", "host_dir"})
"""What may differ from an empty command line when a run is resumed."""

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EFBIG})


def entry() -> NoReturn:
    """The process of a command, which may have been started by anything: a shell, cron, a hook, CI."""
    settle()
    status: int | str | None
    try:
        status = main()
    except SystemExit as exit_:  # argparse's
        status = exit_.code
    try:
        sys.stdout.flush()
    except OSError as error:
        if not status:
            print(f"guestloop: standard output cannot be written: {error.strerror}", file=sys.stderr)
        os._exit(int(status or Exit.LAB))  # there is nothing left to do but flush it again
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status. Errors are one clear message on stderr."""
    # SIGINT too: a shell starts background jobs with it ignored, and CI sends it to them all the same.
    # SIGHUP is left to nohup, which has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    parsed = _parse(arguments)
    try:
        status: int = parsed.action(parsed)
    except GuestloopError as error:
        print(f"guestloop: {error.render()}", file=sys.stderr)
        if error.traceback:
            print(error.traceback, file=sys.stderr)
        status = error.exit_status
    except Exception as error:  # noqa: BLE001 - Python would exit with 1, which means a regression
        _print_unforeseen(error)
        status = Exit.LAB
    except KeyboardInterrupt:
        print("guestloop: interrupted; every guest was ended, the cache is whole", file=sys.stderr)
        status = Exit.INTERRUPTED
    return status


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line. argparse takes positional arguments from one place; patches may stand anywhere."""
    parser = _parser()
    parsed, rest = parser.parse_known_args(arguments)
    if unknown := [word for word in rest if word.startswith("-") or not hasattr(parsed, "change")]:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if rest:
        parsed.change += rest
    parsed.words = tuple(sys.argv[1:] if arguments is None else arguments)
    return parsed


def _print_unforeseen(error: Exception) -> None:
    from guestloop.cache import DISK_FULL

    if isinstance(error, OSError) and error.errno in DISK_FULL:
        what = error.filename or "the results"
        print(f"guestloop: no space left for {what}", file=sys.stderr)
        print("  hint: free some space, or name another --out; what was measured is there", file=sys.stderr)
        return
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        print(f"guestloop: a limit of this user or machine was reached: {error.strerror}", file=sys.stderr)
        print("  hint: raise it (ulimit -a shows them), or end other programs", file=sys.stderr)
        return
    if isinstance(error, PermissionError) and error.filename:
        print(f"guestloop: {error.filename}: {error.strerror}", file=sys.stderr)
        print(f"  hint: user {os.geteuid()} has to have access to it", file=sys.stderr)
        return
    traceback.print_exception(error)
    print("guestloop: a fault of guestloop or of this machine, see above; no verdict", file=sys.stderr)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="guestloop", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    told = argparse.ArgumentParser(add_help=False)
    told.add_argument("--verbose", action="store_true", help="print every figure of every cell")
    _add_run(commands.add_parser("run", parents=[told], help="build, measure and compare kernels"))
    for name, action, does in (
        ("compare", _compare, "recompute the verdict of a result directory, without a guest"),
        ("report", _report, "make the files of the report of a result directory again, without a guest"),
    ):
        again = commands.add_parser(name, parents=[told] if action is _compare else [], help=does)
        again.add_argument("out", type=path, metavar="OUT")
        again.set_defaults(action=action)
    many = commands.add_parser("history", help="many results over kernels and dates: page and table")
    add_options(many, path=path)
    many.set_defaults(action=_history)
    scatter = commands.add_parser("calibrate", help="how widely rounds of a good kernel scatter")
    add_calibrate(scatter)
    scatter.set_defaults(action=_calibrate)
    machine = commands.add_parser("doctor", help="what this machine can run, and why not more")
    add_doctor(machine)
    machine.set_defaults(action=_doctor)
    there = commands.add_parser("there", help="the far end of run --host, which starts it")
    there.add_argument("operation")
    there.set_defaults(action=_there)
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    add_change(parser)
    parser.add_argument(
        "--profile", type=word, help="smoke, default, lab, or one of your own; default: default"
    )
    parser.add_argument(
        "--kernels",
        type=names,
        metavar="A,B[,C...]",
        help="A is the reference, each of the others is compared with it; default: unpatched,patched."
        " A name or file of kernels/*.yaml, or a kernel that exists: deb:PACKAGE, deb:VERSION or deb:newest,"
        " with -FLAVOUR and @SUITE; A.deb, A.deb+B.deb, A.rpm, A.tar.xz; running, /boot/vmlinuz-V;"
        " a build tree by its path (./linux)",
    )
    parser.add_argument("--tests", type=names, default=(), metavar="T,...", help="default: all")
    modes = "; ".join(f"{' or '.join(mode.names)}: {mode.meaning}" for mode in Mmu)
    parser.add_argument("--mmu", type=names, default=(), metavar=",".join(Mmu), help=f"default: all. {modes}")
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--rounds", type=count, metavar="N", help="so many in each cell")
    limit.add_argument(
        "--budget",
        metavar="TIME",
        help="20m, 90s or 1h: cells that are not settled get more rounds as long as they fit; default: the"
        " profile's. The first round of each cell is measured in any case",
    )
    parser.add_argument("--accel", choices=(AUTO, *(kind.name for kind in KINDS)), help=f"default: {AUTO}")
    parser.add_argument(
        "--labs",
        type=count,
        metavar="N",
        help="so many side by side, each with cores and memory of its own, on cells of its own; default: 1",
    )
    parser.add_argument(
        "--no-wait",
        action="store_true",
        help="end with 3 if another run with --accel kvm uses this host now; default: wait for its end",
    )
    parser.add_argument(
        "--resume",
        type=path,
        metavar="OUT",
        help="go on with a run that was interrupted or has spent its budget; only --rounds or --budget,"
        " --labs and --no-wait go with it, everything else is as it was",
    )
    add_host_options(parser)
    parser.add_argument("--out", type=path, metavar="DIR", help="default: results/<time>")
    parser.add_argument("--list", action="store_true", help="print the cells and touch nothing")
    parser.set_defaults(action=_run)


def _run(parsed: argparse.Namespace) -> int:
    from guestloop.job.options import list_cells

    if parsed.resume:
        return _resume(parsed)
    options = _options(parsed)
    if parsed.list:
        print("\n".join(list_cells(options)))
        return Exit.OK
    if where := _where(parsed):
        from guestloop.remote.run import run_on_host

        return run_on_host(options, where)
    from guestloop.job.run import run

    return run(options)


def _where(parsed: argparse.Namespace) -> Where | None:
    """The other machine that is named, if one is."""
    from guestloop.remote.address import parse_where

    return parse_where(parsed.host, parsed.host_dir)


def _options(parsed: argparse.Namespace) -> Options:
    """What the words of a command line ask for. Raises ConfigError for what contradicts itself."""
    from guestloop.config import Words, parse_change, parse_duration, parse_expect_options
    from guestloop.job.options import Options

    words = Words(
        arguments=tuple(parsed.change),
        base=parsed.base,
        git=parsed.git,
        dirty=parsed.dirty,
        config_a=parsed.config_a,
        config_b=parsed.config_b,
        threeway=parsed.threeway,
    )
    return Options(
        profile=parsed.profile or Options.profile,
        kernels=Options.kernels if parsed.kernels is None else parsed.kernels,
        change=parse_change(words, parsed.kernels or ()),
        expect=parse_expect_options(parsed.expect),
        tests=parsed.tests,
        mmu=parsed.mmu,
        rounds=parsed.rounds,
        budget_s=None if parsed.budget is None else parse_duration("--budget", parsed.budget),
        accel=parsed.accel or AUTO,
        labs=parsed.labs,
        wait=not parsed.no_wait,
        verbose=parsed.verbose,
        out=parsed.out,
        arguments=parsed.words,
    )


def _resume(parsed: argparse.Namespace) -> int:
    """Go on with a run, in the directory where it began: its kernels are named from there."""
    _refuse_other_options(parsed)
    limit, where = _options(parsed), _where(parsed)
    if where or (parsed.resume / RECORD_FILE).is_file():
        from guestloop.remote.run import resume_on_host

        return resume_on_host(parsed.resume, limit, where)
    from guestloop.job.resume import read_resumable, resume

    out = parsed.resume.absolute()
    plan = read_resumable(out)
    with chdir(plan.directory):
        then = _options(_parse(plan.arguments))
        new = {name: getattr(limit, name) for name in ("rounds", "budget_s", "wait", "verbose")}
        return resume(out, plan, replace(then, **new, labs=limit.labs or then.labs))


def _refuse_other_options(parsed: argparse.Namespace) -> None:
    """Raise ConfigError for what is given beside --resume and was decided when the run began."""
    usual = vars(_parse(("run",)))
    given = [name for name, value in vars(parsed).items() if value != usual[name] and name not in RESUMED]
    if given:
        words = {"change": next(iter(parsed.change), ""), "threeway": "--3way"}
        named = words.get(given[0], f"--{given[0].replace('_', '-')}")
        raise ConfigError(
            f"--resume {parsed.resume}: {named} does not go with it",
            hint="kernels, cells and machine are those of the run; only --rounds or --budget can be new",
        )


def _compare(parsed: argparse.Namespace) -> int:
    from guestloop.job.conclude import conclude
    from guestloop.results.plan import PLAN_FILE

    if not (parsed.out / PLAN_FILE).exists():
        print(f"guestloop: {parsed.out} is not a result directory (no {PLAN_FILE})", file=sys.stderr)
        return Exit.USAGE
    return conclude(parsed.out, replace_old=True, verbose=parsed.verbose).exit_status


def _history(parsed: argparse.Namespace) -> int:
    from guestloop.history.record import Wanted, record

    return record(Wanted(tuple(parsed.directories), parsed.store, parsed.out, parsed.calibration))


def _doctor(parsed: argparse.Namespace) -> int:
    from guestloop.doctor import examine, read_facts, render_json, render_text

    report = examine(read_facts())
    if parsed.features:
        print(",".join(report.labels))
    else:
        print(render_json(report) if parsed.json else render_text(report))
    return report.exit_status


def _there(parsed: argparse.Namespace) -> int:
    from guestloop.remote.there.serving import serve

    def prime(run: Run, cache: Cache) -> None:
        from guestloop.remote.there import prime  # which needs all that a run does, and no other operation

        prime.look_for_entries(run, cache, lambda words: _options(_parse(("run", *words))))

    return serve(parsed.operation, prime)


def _report(parsed: argparse.Namespace) -> int:
    from guestloop.job.conclude import report

    for file in report(parsed.out):
        print(file)
    return Exit.OK


def _calibrate(parsed: argparse.Namespace) -> int:
    from guestloop.job.calibrate import Calibrating, calibrate
    from guestloop.job.options import Options

    options = Options(
        profile=parsed.profile,
        kernels=(parsed.kernel, parsed.kernel),
        tests=parsed.tests,
        rounds=parsed.rounds,
        accel=parsed.accel,
    )
    directory, store = (path and path.absolute() for path in (parsed.directory, parsed.store))
    return calibrate(Calibrating(directory, options, parsed.sittings, store, parsed.runs))


if __name__ == "__main__":
    entry()
