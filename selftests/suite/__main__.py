# SPDX-License-Identifier: GPL-2.0-or-later
"""``scripts/test``: from options to an exit status."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from guestloop.ground.errors import GuestloopError
from guestloop.ground.isolated import settle
from guestloop.ground.log import say
from guestloop.ground.surroundings import inherited
from labhost.trials import Size
from mutation.command import COUNT, SEED, run_mutants
from suite.covered import run_with_coverage
from suite.stages import (
    GUEST,
    INTERRUPTED,
    browser_tests,
    checks,
    fast_tests,
    guest_tests,
    run_stages,
)

USAGE = """scripts/test [-m EXPRESSION] [--coverage] [PYTEST OPTION...]
       scripts/test --mutants [--count N] [--seed N]
       scripts/test --lab-host[=full|=ssh] [--out DIR]"""


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options that are ours, and those that pytest gets. Exits with 2 on wrong usage."""
    parser = argparse.ArgumentParser(
        prog="scripts/test",
        usage=USAGE,
        description="Run the project's own tests. All options that are not listed here go to pytest.",
        allow_abbrev=False,
    )
    parser.add_argument("-m", dest="expression", default="", help="which tests, as pytest's -m: 'not guest'")
    parser.add_argument("--coverage", action="store_true", help="fast tests only; print what they cover")
    parser.add_argument("--mutants", action="store_true", help="do the fast tests notice when code is wrong?")
    parser.add_argument("--count", type=int, help=f"mutants drawn at random (default: {COUNT})")
    parser.add_argument("--seed", type=int, help=f"which mutants are drawn (default: {SEED})")
    parser.add_argument(
        "--lab-host",
        nargs="?",
        choices=[size.value for size in Size],
        const=Size.SHORT.value,
        help="real runs with nested KVM, on a simulated lab host: 25 minutes; full: 80 minutes;"
        " ssh: one through scripts/run --host",
    )
    parser.add_argument("--out", type=Path, help="directory for the results of --lab-host")
    ours, options = parser.parse_known_args(arguments)
    if ours.out and not ours.lab_host:
        parser.error("--out is an option of --lab-host")
    if ours.lab_host and (options or ours.mutants or ours.coverage or ours.expression):
        parser.error("--lab-host has no options but --out")
    if not ours.mutants and (ours.count, ours.seed) != (None, None):
        parser.error("--count and --seed are options of --mutants")
    if ours.mutants and (options or ours.coverage or ours.expression):
        parser.error("--mutants has no options but --count and --seed")
    if ours.coverage and ours.expression == GUEST:
        parser.error("--coverage is of the fast tests")
    return ours, options


def main(arguments: list[str]) -> int:
    """Run what was asked for; returns the exit status of the first stage that failed."""
    ours, options = parse(arguments)
    if ours.mutants:
        return _told(lambda: run_mutants(ours.count or COUNT, SEED if ours.seed is None else ours.seed))
    if ours.lab_host:
        return _told(lambda: _lab_host(Size(ours.lab_host), ours.out))
    if ours.coverage:
        return run_with_coverage(ours.expression, options)
    kinds = fast_tests, browser_tests, guest_tests
    tests = [stage for kind in kinds for stage in kind(ours.expression, options)]
    return run_stages([*checks(), *tests])


def _lab_host(size: Size, out: Path | None) -> int:
    from labhost.command import run_lab_host  # paramiko and more, which nothing else here needs

    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # as Ctrl-C: what it made for the host is removed
    return run_lab_host(size, out)


def _told(command: Callable[[], int]) -> int:
    """The exit status of a command, whose error is shown as one."""
    try:
        return command()
    except GuestloopError as error:
        say(f"scripts/test: {error.render()}")
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED


def settle_environment() -> None:
    """Stages see what commands of guestloop see, and where the packages of the tests are."""
    packages = Path(__file__).resolve().parents[1]
    environment = inherited() | {"PYTHONUTF8": "1", "PYTHONPATH": str(packages)}
    os.environ.clear()
    os.environ.update(environment)


if __name__ == "__main__":
    settle()
    settle_environment()
    sys.exit(main(sys.argv[1:]))
