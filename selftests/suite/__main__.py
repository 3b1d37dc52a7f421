"""``scripts/test``: from options to an exit status."""

from __future__ import annotations

import argparse
import sys

from suite.covered import run_with_coverage
from suite.stages import checks, fast_tests, guest_tests, run_stages

USAGE = "scripts/test [-m EXPRESSION] [--coverage] [PYTEST OPTION...]"


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options that are ours, and those that pytest gets."""
    parser = argparse.ArgumentParser(
        prog="scripts/test",
        usage=USAGE,
        description="Run the project's own tests. All options that are not listed here go to pytest.",
        allow_abbrev=False,
    )
    parser.add_argument("-m", dest="expression", default="", help="which tests, as pytest's -m: 'not guest'")
    parser.add_argument("--coverage", action="store_true", help="fast tests only; print what they cover")
    return parser.parse_known_args(arguments)


def main(arguments: list[str]) -> int:
    """Run what was asked for; returns the exit status of the first stage that failed."""
    ours, options = parse(arguments)
    if ours.coverage:
        return run_with_coverage(ours.expression, options)
    tests = [*fast_tests(ours.expression, options), *guest_tests(ours.expression, options)]
    return run_stages([*checks(), *tests])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
