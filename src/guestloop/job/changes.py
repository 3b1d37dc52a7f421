# SPDX-License-Identifier: GPL-2.0-or-later
"""What differs between the kernels of a run, what of it is watched, and what earlier runs have seen of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from guestloop.agent.changed import Watched
from guestloop.cache import Cache
from guestloop.ground.codec import decode, encode
from guestloop.ground.errors import CacheError
from guestloop.ground.log import say
from guestloop.ground.words import listed, plural
from guestloop.job.obtain import Obtained
from guestloop.job.subjects import ToBuild
from guestloop.kernels import find_changes
from guestloop.results.cells import Cell
from guestloop.results.changes import VMLINUX, ChangedFunction, Changes
from guestloop.results.plan import Kernels, Plan, PlannedKernel
from guestloop.results.reach import Ran, reach_of
from guestloop.results.records import Round
from guestloop.results.sizes import USUAL

KIND, FILE = "reach", "ran.json"  # of cache entries
# Part of every key. Increase it when the cells of the same names do something else.
RECIPE = 1
SHOWN = 8


def with_changes(planned: Kernels, found: Sequence[Obtained], cache: Cache) -> Kernels:
    """The kernels with what differs between each candidate and the reference, which is printed."""
    reference, *others = found
    candidates = tuple(
        replace(candidate, changes=_changes(reference, one, cache))
        for candidate, one in zip(planned.candidates, others, strict=True)
    )
    for candidate in candidates:
        if candidate.changes:
            say(f"==> {candidate.name}: {describe(candidate.changes)}")
    return replace(planned, candidates=candidates)


def _changes(reference: Obtained, candidate: Obtained, cache: Cache) -> Changes | None:
    """What differs, if the candidate is the reference with a series: otherwise all may, for any reason."""
    if reference.kernel is None or candidate.kernel is None or not _is_series(reference, candidate):
        return None
    return find_changes(reference.kernel, candidate.kernel, cache)


def _is_series(reference: Obtained, candidate: Obtained) -> bool:
    a, b = reference.subject, candidate.subject
    return (
        isinstance(a, ToBuild)
        and isinstance(b, ToBuild)
        and reference.kernel is not None
        and candidate.kernel is not None
        and a.provenance.config.sha256 == b.provenance.config.sha256
        and (reference.kernel.release, reference.kernel.compiler)
        == (candidate.kernel.release, candidate.kernel.compiler)
    )


def describe(changes: Changes) -> str:
    """What differs, in a line."""
    functions = [one.id for one in changes.functions]
    parts = [
        _listed(plural(len(functions), "function", "functions"), functions),
        _listed("data", list(changes.data)),
    ]
    said = "; ".join(filter(None, parts))
    return f"its machine code differs in {said}" if said else "its machine code is that of the reference"


def _listed(what: str, names: Sequence[str]) -> str:
    return f"{what}: {listed(names, SHOWN)}" if names else ""


def watched_by(kernels: Kernels) -> dict[str, tuple[Watched, ...]]:
    """The functions to be watched in each kernel: in the reference, those that any candidate changes."""
    watched = {kernels.reference.name: _watch((one, one.reference) for one in _probeable(kernels.candidates))}
    for candidate in kernels.candidates:
        watched[candidate.name] = _watch((one, one.candidate) for one in _probeable([candidate]))
    return watched


def _probeable(candidates: Iterable[PlannedKernel]) -> list[ChangedFunction]:
    changed = (one for candidate in candidates if candidate.changes for one in candidate.changes.functions)
    return [one for one in changed if not one.unprobeable]


def _watch(functions: Iterable[tuple[ChangedFunction, tuple[str, ...]]]) -> tuple[Watched, ...]:
    found = {
        one.id: Watched(one.id, tuple(_kprobe(one.module, symbol) for symbol in symbols))
        for one, symbols in functions
        if symbols
    }
    return tuple(found[name] for name in sorted(found))


def _kprobe(module: str, symbol: str) -> str:
    return symbol if module == VMLINUX else f"{module}:{symbol}"


def with_known_reach(plan: Plan, cache: Cache) -> Plan:
    """The plan with the cells of which an earlier run of the same two builds has seen what runs in them."""
    known = {
        candidate.name: {
            cell.id: decode(Ran, json.loads((entry / FILE).read_text()))
            for cell in plan.cells
            if (entry := cache.find(KIND, _inputs(plan, candidate, cell)))
        }
        for candidate in plan.kernels.candidates
        if candidate.changes and not candidate.failure
    }
    return replace(plan, known_reach={name: cells for name, cells in known.items() if cells})


def keep_reach(plan: Plan, rounds: Sequence[Round], out: Path, cache: Cache) -> None:
    """Keep which functions ran in which cell, so that a later run need not probe it again.

    A cache that cannot be written any more does not keep a run from its verdict.
    """
    try:
        _keep_reach(plan, rounds, out, cache)
    except CacheError as error:
        say(f"==> which functions ran is not kept for later runs: {error.first_line}")


def _keep_reach(plan: Plan, rounds: Sequence[Round], out: Path, cache: Cache) -> None:
    for candidate in plan.kernels.candidates:
        for cell in plan.cells if candidate.changes else ():
            own = [item for item in rounds if item.cell.id == cell.id]
            reference = [item for item in own if item.kernel == plan.kernels.reference.name]
            tested = [item for item in own if item.kernel == candidate.name]
            found = reach_of(candidate.changes or Changes(), reference, tested)
            if isinstance(found, Ran):
                ran = replace(found, source=str(out))
                cache.obtain(KIND, _inputs(plan, candidate, cell), partial(_write, ran))


def _write(ran: Ran, into: Path) -> None:
    (into / FILE).write_text(json.dumps(encode(ran), indent=1) + "\n")


def _inputs(plan: Plan, candidate: PlannedKernel, cell: Cell) -> Mapping[str, object]:
    return {
        "recipe": RECIPE,
        "reference": plan.kernels.reference.sha256,
        "candidate": candidate.sha256,
        "cell": cell.id,
        "l2": plan.l2_kernel.build_id if plan.l2_kernel else "",
        "accelerator": plan.accelerator,
        **({} if plan.sizes == USUAL else plan.sizes.facts),
    }
