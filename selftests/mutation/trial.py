# SPDX-License-Identifier: GPL-2.0-or-later
"""One mutant on trial: which test, if any, notices it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from guestloop.ground.errors import LabError
from mutation.executed import Executed
from mutation.mutants import Mutant
from mutation.tree import Ended, Tree

# pytest's exit statuses that no failing test causes.
INTERNAL_ERROR, NO_TESTS = 3, 5
TYPES_S = 300.0
TIMED_OUT = "Timeout ("  # what faulthandler writes when it ends a test (see Tree.run_tests)
FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


def time_limit(usual_s: float) -> float:
    """For all tests together, as a backstop: each test has a limit of its own, see Tree.run_tests."""
    return 30 + 5 * usual_s


@dataclass(frozen=True)
class Result:
    """What became of a mutant. ``killers``: what noticed it, tests by name; empty when it survived.

    ``problem``: why nothing can be told, when pytest itself failed. Nothing noticed the mutant then either.
    """

    mutant: Mutant
    killers: tuple[str, ...]
    problem: str = ""

    @property
    def survived(self) -> bool:
        return not self.killers

    @property
    def line(self) -> str:
        """Where it is, what it is, and who noticed it."""
        end = f"killed by {' and '.join(self.killers)}" if self.killers else "SURVIVED"
        if self.problem:
            end += f" ({self.problem})"
        return f"{self.mutant.where}: {self.mutant.what}: {end}"


def run_trial(tree: Tree, mutant: Mutant, executed: Executed, *, accepted: bool = False) -> Result:
    """The tests that execute what is mutated, then all others; at last mypy, for a seeded mutant.

    One that is ``accepted`` as a survivor is left with the first of these: trying all tests takes longer
    than all that most mutants take.
    """
    killers, problem = [], ""
    with tree.holding(mutant):
        try:
            killers += _failing(tree, mutant, executed, accepted)
        except LabError as error:
            problem = error.first_line
        if mutant.seeded and not killers:
            killers += _rejected(tree)
    return Result(mutant, tuple(killers), problem)


def _rejected(tree: Tree) -> Iterator[str]:
    ended = tree.run("mypy", timeout_s=TYPES_S)
    if ended.status:
        yield "mypy"


def _failing(tree: Tree, mutant: Mutant, executed: Executed, accepted: bool) -> list[str]:
    """The name of the first test that fails, in a list; an empty list when none does."""
    near = executed.tests_of(mutant)
    all_tests: list[str] = []
    for tests in [near, *([] if accepted else [all_tests])] if near else [all_tests]:
        ended = tree.run_tests(tests, time_limit(executed.time_of(tests)))
        if killer := killer_of(ended):
            return [killer]
    return []


def killer_of(ended: Ended) -> str:
    """Which test noticed the mutant, from what pytest printed; empty when it passed.

    Raises LabError when pytest itself did not work.
    """
    if ended.status in (INTERNAL_ERROR, NO_TESTS):
        raise LabError(f"pytest ended with {ended.status}\n{ended.output}")
    if ended.status == 0:
        return ""
    if ended.status is None or TIMED_OUT in ended.output:
        return "a time limit"
    failed = FAILED.search(ended.output)
    return failed[1] if failed else f"the end of pytest with {ended.status}"
