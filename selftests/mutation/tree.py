# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies of the tree, in which mutants live: the checkout itself is never changed."""

from __future__ import annotations

import compileall
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode

from guestloop.ground import proc
from guestloop.ground.errors import LabError, TimedOut
from mutation.mutants import Mutant

# What is made by running things, and what no test looks at.
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", "__pycache__", "*.egg-info", ".*_cache")
TEST_S = 60.0
RESULTS = {"results", "job-results"}  # at the top only: there are packages of that name
# Not those that look for the seeded mutants in the sources, which would notice each of them, nor those that
# run mypy: a copy has none of its cache, and types are no test.
FAST_TESTS = ("-m", "not guest and not types", "--ignore-glob=selftests/test_mutation*.py")


@dataclass(frozen=True)
class Ended:
    """How a command in the tree ended: its exit status (None: it took too long) and its last lines."""

    status: int | None
    output: str


@dataclass(frozen=True)
class Tree:
    """A copy of the checkout."""

    top: Path

    @classmethod
    def copy(cls, checkout: Path, top: Path) -> Tree:
        """Copy a checkout to ``top``, which must not exist yet."""
        shutil.copytree(checkout, top, ignore=_left_out_of(checkout), symlinks=True)
        # Python takes a cached module for current when time (s) and size agree, as a mutant's may.
        for part in ("src", "selftests"):
            compileall.compile_dir(top / part, quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
        return cls(top)

    @contextmanager
    def holding(self, mutant: Mutant) -> Iterator[None]:
        """The tree with this mutant in place of the file that it was made from."""
        file = self.top / mutant.path
        if file.read_text() != mutant.before:
            raise LabError(f"{mutant.path} was changed while mutants were on trial")
        file.write_text(mutant.after)
        try:
            yield
        finally:
            file.write_text(mutant.before)

    def run(self, *arguments: str, env: dict[str, str] | None = None, timeout_s: float) -> Ended:
        """A Python module, with arguments, that finds this tree's packages before any that is installed."""
        path = os.pathsep.join(str(self.top / part) for part in ("src", "selftests"))
        try:
            done = proc.run(
                [sys.executable, "-m", *arguments],
                cwd=self.top,
                env={"PYTHONPATH": path, **(env or {})},
                timeout_s=timeout_s,
                check=False,
            )
        except TimedOut as error:
            return Ended(None, str(error))
        return Ended(done.status, done.output)

    def run_tests(self, tests: Sequence[str], timeout_s: float) -> Ended:
        """pytest until the first test fails; all fast tests when none are named."""
        selection = self.top / ".selection"
        selection.write_text("\n".join(tests))
        chosen = [f"@{selection}"] if tests else FAST_TESTS
        # A mutant may run for ever, in one test.
        limit = ("-o", f"faulthandler_timeout={TEST_S:g}", "-o", "faulthandler_exit_on_timeout=true")
        # No tracebacks: pytest would parse the source of the mutant for them, and nobody reads them.
        options = ("-x", "--tb=no", "-p", "no:cacheprovider", *limit)
        return self.run("pytest", *options, *chosen, timeout_s=timeout_s)


def _left_out_of(checkout: Path) -> Callable[[str, list[str]], set[str]]:
    """As shutil.copytree wants it: those names of a directory that are left out."""

    def left_out(directory: str, names: list[str]) -> set[str]:
        found = LEFT_OUT(directory, names)
        return found | RESULTS if Path(directory) == checkout else found

    return left_out


def digest(checkout: Path) -> str:
    """Hash of all that a copy of this checkout has in it."""
    left_out = _left_out_of(checkout)
    whole = hashlib.sha256()
    for directory, directories, files in os.walk(checkout):
        dropped = left_out(directory, [*directories, *files])
        directories[:] = sorted(set(directories) - dropped)
        for name in sorted(set(files) - dropped):
            path = Path(directory, name)
            whole.update(f"{path.relative_to(checkout)}\0{path.stat().st_size}\0".encode())
            whole.update(path.read_bytes())
    return whole.hexdigest()
