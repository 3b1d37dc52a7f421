# SPDX-License-Identifier: GPL-2.0-or-later
"""``scripts/test --mutants``: seeded and drawn mutants, two on trial at a time."""

from __future__ import annotations

import importlib
import queue
import sys
import tempfile
import threading
import tomllib
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from guestloop.cache import Cache
from guestloop.config import REPOSITORY
from guestloop.ground import proc
from guestloop.ground.errors import LabError
from guestloop.ground.log import say, step
from mutation.accepted import Accepted, read_accepted
from mutation.drawn import draw
from mutation.executed import Executed, measure
from mutation.mutants import Mutant
from mutation.score import Score
from mutation.seeded import read_patches
from mutation.tree import Tree
from mutation.trial import Result, run_trial

PACKAGES = ("agent", "compare", "kernels", "lab", "sources", "stats", "workloads")
COUNT, SEED, WORKERS = 60, 17, 2
DRAW_S, TRIAL_S = 20.0, 15.0
TOOL = "cosmic_ray"


def run_mutants(count: int = COUNT, seed: int = SEED) -> int:
    """Try the seeded mutants and ``count`` drawn ones; returns 0 when the tests are good enough, else 1.

    Raises ConfigError when a seeded mutant's text is gone, LabError when the tool that draws them cannot be
    installed or the tests fail without any mutant.
    """
    install_tool()
    seeded = [patch.apply(REPOSITORY) for patch in read_patches()]
    with tempfile.TemporaryDirectory(prefix="guestloop-mutants-", ignore_cleanup_errors=True) as directory:
        trees = [Tree.copy(REPOSITORY, Path(directory, f"tree{number}")) for number in range(WORKERS)]
        executed = measure(REPOSITORY, trees[0], Cache())
        with step(f"drawing {count} mutants of {', '.join(PACKAGES)} with seed {seed}", expect_s=DRAW_S):
            drawn = draw_mutants(trees[0].top, count, seed)
        accepted = read_accepted()
        score = Score(try_all(trees, [*seeded, *drawn], executed, accepted))
    say(score.render(accepted))
    return 0 if score.good else 1


def install_tool() -> None:
    """Install what draws the mutants, unless it is there. Raises ProcessError when pip fails.

    Only this command needs it, and it brings thirty packages: scripts/setup leaves it out.
    """
    if find_spec(TOOL):
        return
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = project["optional-dependencies"]["mutants"]
    with step(f"installing {' '.join(wanted)}", expect_s=30.0):
        command = [sys.executable, "-m", "pip", "install", "-qq", *wanted]
        proc.run(command, hint="pip needs a package index: network, or PIP_INDEX_URL")
    importlib.invalidate_caches()


def draw_mutants(top: Path, count: int, seed: int) -> list[Mutant]:
    """Draw from the packages below ``top``. Raises LabError when there are fewer mutations."""
    from mutation.operators import find_possibilities, mutate  # the tool may just have been installed

    files = [file for name in PACKAGES for file in sorted((top / "src/guestloop" / name).rglob("*.py"))]
    sources = {str(file.relative_to(top)): file.read_text() for file in files}
    possible = [item for path, source in sources.items() for item in find_possibilities(path, source)]
    drawn = draw(possible, sources, mutate, count, seed)
    if len(drawn) < count:
        raise LabError(f"{len(drawn)} mutations are possible, {count} were wanted")
    return drawn


def try_all(
    trees: Sequence[Tree], mutants: Sequence[Mutant], executed: Executed, accepted: Sequence[Accepted] = ()
) -> list[Result]:
    """The results in the order of the mutants; one at a time in each tree.

    Raises LabError when tests fail without a mutant, or pytest does not work.
    """
    for tree in trees:
        _check(tree, executed)
    known = {mutant for mutant in mutants if any(entry.means(mutant) for entry in accepted)}

    def run(tree: Tree, mutant: Mutant) -> Result:
        return run_trial(tree, mutant, executed, accepted=mutant in known)

    results: dict[Mutant, Result] = {}
    with step(f"{len(mutants)} mutants on trial", expect_s=TRIAL_S * len(mutants) / len(trees)) as shown:
        for result in _concurrently(trees, mutants, run):
            results[result.mutant] = result
            say(f"    {result.line}")
            survivors = sum(found.survived for found in results.values())
            status = f"{len(results)} of {len(mutants)}, {survivors} survived"
            shown.update(status, len(results) / len(mutants))
    return [results[mutant] for mutant in mutants]


def _check(tree: Tree, executed: Executed) -> None:
    """A copy in which tests fail anyway would kill every mutant."""
    quick = sorted(executed.seconds, key=lambda test: executed.seconds[test])[:50]
    ended = tree.run_tests(quick, timeout_s=120.0)
    if ended.status != 0:
        raise LabError(f"tests fail in a copy of the tree without any mutant:\n{ended.output}")


def _concurrently(
    trees: Sequence[Tree], mutants: Sequence[Mutant], run: Callable[[Tree, Mutant], Result]
) -> Iterator[Result]:
    """Results as they come. The threads are daemons, so that Ctrl-C need not wait for them."""
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    done: queue.SimpleQueue[Result | Exception] = queue.SimpleQueue()
    for mutant in mutants:
        waiting.put(mutant)

    def work(tree: Tree) -> None:
        try:
            while True:
                done.put(run(tree, waiting.get_nowait()))
        except queue.Empty:
            return
        except Exception as error:  # noqa: BLE001 - raised again where the results are taken
            done.put(error)

    for tree in trees:
        threading.Thread(target=work, args=(tree,), daemon=True).start()
    for _ in mutants:
        result = done.get()
        if isinstance(result, Exception):
            raise result
        yield result
