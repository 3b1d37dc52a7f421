# SPDX-License-Identifier: GPL-2.0-or-later
"""Apply a series by ``git apply``: without fuzz, and with a word about each hunk that is off or does not fit.

What the patches make is decided by git. Which hunk went where, and why one fits nowhere, is found out beside
it (fit.py), since git tells neither as data.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from guestloop.cache import Cache, says_no_space
from guestloop.ground import codec
from guestloop.ground.errors import NotApplied, ProcessError
from guestloop.sources.diff import parse
from guestloop.sources.fit import Files, Offset, fit
from guestloop.sources.misfits import Misfit
from guestloop.sources.names import candidates, find_level, resolve
from guestloop.sources.series import Patch, Series
from guestloop.sources.stages import IndexStage, Stage
from guestloop.sources.trees import OBJECTS, Tree, writing

SERIES_KIND = "series"  # of cache entries
REBASE_HINT = "is the series made for this base? Rebase it, or name the base it is made for (--base, --git)"
THREEWAY_HINT = "--3way merges where git has the files that the patch was made from"

_FORMAT = 1
_RESULT = "applied.json"
_SHOWN = 3


@dataclass(frozen=True)
class Went:
    """How a patch was applied: leading directories that were taken off names, and hunks that are off.

    ``merged`` names what fits nowhere and was merged by ``--3way``.
    """

    strip: int
    offsets: tuple[Offset, ...]
    merged: tuple[str, ...] = ()

    def __str__(self) -> str:
        odd = [f"names taken with -p{self.strip}"] if self.strip != 1 else []
        return "; ".join([*odd, *map(str, self.offsets), *(f"merged: {one}" for one in self.merged)])


@dataclass(frozen=True)
class _Result:
    tree: str
    patches: tuple[Went, ...]


@dataclass(frozen=True)
class Applied:
    """A series on a base: the tree that it makes, and how each of its patches went."""

    base: Tree
    tree: Tree
    series: Series
    patches: tuple[Went, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for each patch with hunks that are not where its headers say, or whose names are odd."""
        pairs = zip(self.series.patches, self.patches, strict=True)
        odd = tuple(f"{patch.name}: {went}" for patch, went in pairs if str(went))
        if self.patches and self.tree.id == self.base.id:
            odd += ("the series leaves the source as it is",)
        return odd


def apply_to_tree(base: Tree, series: Series, cache: Cache, *, threeway: bool = False) -> Applied:
    """The tree that a series makes of a base, from the cache or made now.

    ``threeway`` lets git merge what does not match (``git apply --3way``). Raises NotApplied with the patch,
    the hunk and what stands there, CacheError if the disk is full. The base's stores are only read.
    """
    if not series.patches:
        return Applied(base, base, series, ())
    inputs = {
        "format": _FORMAT,
        "base": base.id,
        "patches": [[patch.sha256, patch.strip] for patch in series.patches],
        "threeway": threeway,
    }
    entry = cache.obtain(
        SERIES_KIND, inputs, lambda entry: _make(base, series, cache, entry, threeway=threeway)
    )
    result = codec.decode(_Result, json.loads((entry / _RESULT).read_text()))
    return Applied(base, Tree(result.tree, (entry / OBJECTS, *base.stores)), series, result.patches)


def _make(base: Tree, series: Series, cache: Cache, entry: Path, *, threeway: bool) -> None:
    scratch = entry / "scratch"
    scratch.mkdir()
    git = writing(base.git(cache), entry / OBJECTS, scratch / "index")
    git.run("read-tree", base.id)
    went = apply(IndexStage(git, base.id), series, threeway=threeway)
    result = _Result(git.line("write-tree"), went)
    shutil.rmtree(scratch)
    (entry / _RESULT).write_text(json.dumps(codec.encode(result), indent=1) + "\n")


def apply(stage: Stage, series: Series, *, threeway: bool = False, hint: str = "") -> tuple[Went, ...]:
    """Apply a series to a stage, in order. Raises NotApplied; ``hint`` replaces what it says to do."""
    total = len(series.patches)
    return tuple(
        _apply(
            stage, patch, f"patch {number} of {total}", _Way(threeway, hint or _rebase_hint(series, threeway))
        )
        for number, patch in enumerate(series.patches, start=1)
    )


@dataclass(frozen=True)
class _Way:
    threeway: bool
    hint: str


def _rebase_hint(series: Series, threeway: bool) -> str:
    made_for = f" ({series.base_commit[:12]})" if series.base_commit else ""
    return f"{REBASE_HINT}{made_for}" + ("" if threeway else f"; {THREEWAY_HINT}")


def _apply(stage: Stage, patch: Patch, number: str, way: _Way) -> Went:
    changes = parse(patch.diff).changes
    there = stage.read(candidates(changes))
    level = patch.strip
    if level is None:
        tops = {name.partition(b"/")[0] for name in there if b"/" in name} - {b""}
        directories = stage.find_directories(tops)
        level = find_level(changes, lambda name: there.get(name) is not None, directories.__contains__)
    expected = fit(resolve(changes, level), Files(there))
    if refused := [misfit for misfit in expected.misfits if misfit.is_refused]:
        raise _not_applied(stage, patch, number, refused, way)
    done = stage.apply(patch.diff, level, threeway=False)
    if done.status and way.threeway:
        done = stage.apply(patch.diff, level, threeway=True)
        if not done.status:
            return Went(level, expected.offsets, tuple(map(str, expected.misfits)))
    if says_no_space(done.stderr):
        raise ProcessError(done.argv, done.status, done.stderr)
    if done.status:
        raise _not_applied(stage, patch, number, expected.misfits, way, done.stderr)
    return Went(level, expected.offsets)


def _not_applied(
    stage: Stage, patch: Patch, number: str, misfits: Sequence[Misfit], way: _Way, said: str = ""
) -> NotApplied:
    """The error for a patch that does not fit, with what git said where we know no better."""
    reasons = [str(misfit) for misfit in misfits[:_SHOWN]]
    if len(misfits) > _SHOWN:
        reasons.append(f"and {len(misfits) - _SHOWN} more")
    if way.threeway and said and reasons:
        reasons.append("and a three-way merge did not help")
    if not reasons:
        reasons = [said.strip().partition("\n")[0].removeprefix("error: ") or "git does not say why"]
    first = f"{patch.where}: {number} does not apply: {'; '.join(reasons)}"
    shown = next((misfit.lines for misfit in misfits if misfit.lines), ())
    own = next((misfit.hint for misfit in misfits if misfit.hint), "") or _elsewhere(stage, misfits)
    hint = "; ".join(filter(None, (patch.suspicion, own or way.hint)))
    return NotApplied("\n".join((first, *shown)), hint=hint)


def _elsewhere(stage: Stage, misfits: Sequence[Misfit]) -> str:
    """A hint where a file that a patch names is further down in the source."""
    missing = next((misfit.missing for misfit in misfits if misfit.missing), b"")
    found = stage.find_ending(missing) if missing else []
    if not 0 < len(found) <= _SHOWN:
        return ""
    names = " or ".join(name.decode(errors="backslashreplace") for name in found)
    return f"is {names} meant? Make the diff from the top of the source (git diff --no-relative)"
