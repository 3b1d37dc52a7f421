# SPDX-License-Identifier: GPL-2.0-or-later
"""Which tests execute which line, measured once for each state of the tree."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from coverage import CoverageData

from guestloop.cache import Cache
from guestloop.ground.errors import LabError
from guestloop.ground.log import step
from mutation import durations
from mutation.mutants import Mutant
from mutation.tree import FAST_TESTS, Tree, digest

MAP, DATA, SECONDS = "executed.json", "coverage", "durations.json"
EXPECT_S, LONGEST_S = 90.0, 900.0
WORKERS = 2
ENV_DATA = "COVERAGE_FILE"


@dataclass(frozen=True)
class Executed:
    """``tests``: by path and line, the tests that execute it. ``seconds``: how long each test takes."""

    tests: Mapping[str, Mapping[int, frozenset[str]]]
    seconds: Mapping[str, float]

    def tests_of(self, mutant: Mutant) -> list[str]:
        """The tests that execute what is mutated, quick ones first.

        A statement that no test executes was executed when its module was imported, if at all: then
        those that execute anything of the file.
        """
        lines = self.tests.get(mutant.path, {})
        found = {test for line in mutant.statements for test in lines.get(line, ())}
        found = found or {test for tests in lines.values() for test in tests}
        return sorted(found, key=lambda test: (self.seconds.get(test, 0.0), test))

    def time_of(self, tests: list[str]) -> float:
        """How long these tests take without a mutant, in seconds; all tests when none are named."""
        return sum(self.seconds.get(test, 0.0) for test in tests or self.seconds)


def measure(checkout: Path, tree: Tree, cache: Cache) -> Executed:
    """Run all fast tests in a copy of the checkout, or read what an earlier run found in this state of it.

    Raises LabError when a test fails: then nothing can be told about mutants.
    """

    def make(directory: Path) -> None:
        with step("finding out which tests execute which line", expect_s=EXPECT_S):
            _run(tree, directory)
            contexts = _read(directory / DATA, tree.top)
        (directory / MAP).write_text(json.dumps(contexts))
        (directory / DATA).unlink()

    entry = cache.obtain("executed-lines", {"tree": digest(checkout)}, make)
    raw = json.loads((entry / MAP).read_text())
    return Executed(
        {path: {int(line): frozenset(tests) for line, tests in lines.items()} for path, lines in raw.items()},
        json.loads((entry / SECONDS).read_text()),
    )


def _run(tree: Tree, directory: Path) -> None:
    ended = tree.run(
        "pytest",
        *(*FAST_TESTS, "-n", str(WORKERS), "--dist", "worksteal"),
        *("-p", "no:cacheprovider", "-p", "mutation.durations"),
        *("--cov", "--cov-context=test", "--cov-report="),
        env={ENV_DATA: str(directory / DATA), durations.VARIABLE: str(directory / SECONDS)},
        timeout_s=LONGEST_S,
    )
    if ended.status:
        raise LabError(f"the fast tests must pass before mutants are tried:\n{ended.output}")


def _read(data_file: Path, top: Path) -> dict[str, dict[int, list[str]]]:
    data = CoverageData(str(data_file))
    data.read()
    return {
        os.path.relpath(file, top): {
            line: tests
            for line, contexts in data.contexts_by_lineno(file).items()
            if (tests := sorted({context.rpartition("|")[0] for context in contexts if "|" in context}))
        }
        for file in data.measured_files()
    }
