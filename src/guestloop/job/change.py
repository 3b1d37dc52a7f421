# SPDX-License-Identifier: GPL-2.0-or-later
"""From a change on the command line to the two kernels that are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from guestloop.cache import Cache
from guestloop.config import REPOSITORY, BaseKind, BaseSpec, Change, KernelSpec, load_argument
from guestloop.config.change import PACKED, PATCHES
from guestloop.ground.errors import ConfigError
from guestloop.ground.log import say
from guestloop.ground.words import file_name
from guestloop.kernels.whole import read_whole_config
from guestloop.results.plan import Reach
from guestloop.sources import Series, read_series
from guestloop.sources.b4 import fetch_series
from guestloop.sources.prerequisites import find_base
from guestloop.sources.repositories import Repository, find_commit, find_repository
from guestloop.sources.revisions import find_ends, shorten

WHOLE_CONFIG = REPOSITORY / "kernels" / "config" / "whole.config"
"""What is laid over a whole ``.config``: what no kernel can do without as L1."""

Pair = tuple[KernelSpec, KernelSpec]


def change_specs(change: Change, cache: Cache) -> Pair:
    """The reference and the candidate. Raises ConfigError for what does not exist or does not go together.

    Mails are fetched, and refs of a repository are resolved; nothing is built, and no source is read.
    """
    reference = _load_base(change)
    patches = (*change.patches, *(fetch_series(one, cache) for one in change.message_ids))
    series = read_series(patches)  # now, not after a base was read that takes a minute
    if change.tree:
        reference, candidate = _in_git(change, change.tree, reference, patches, series)
    else:
        candidate = _like(reference, _name_of(patches), patches, change)
    return _with_configs(change, reference, candidate)


def _load_base(change: Change) -> KernelSpec:
    """The kernel that ``--base`` names, of which a tree of git takes the configuration only."""
    base = load_argument(change.base)
    if not isinstance(base, KernelSpec):
        raise ConfigError(
            f"--base {change.base}: a kernel that exists already, which no patch can be applied to",
            hint="a name or file of kernels/*.yaml; two kernels that exist are compared by --kernels",
        )
    if change.tree and base.series:
        raise ConfigError(
            f"--base {change.base}: with --git it is the configuration alone, and this has a series too",
            hint="name a kernel without a series, or leave --git out",
        )
    return base


def _like(base: KernelSpec, name: str, patches: Sequence[Path], change: Change) -> KernelSpec:
    """The candidate: what the base is, and the patches. Nothing is known of what it does."""
    return replace(
        base,
        name=name,
        description=f"like {base.name}",
        series=(*base.series, *patches),
        threeway=change.threeway,
        reach=Reach(),
        expect=(),
        written=change.written,
    )


def _in_git(change: Change, tree: Path, base: KernelSpec, patches: Sequence[Path], series: Series) -> Pair:
    where = "--git"
    repository = find_repository(tree, where)

    def at(ref: str, name: str, *, dirty: bool = False) -> KernelSpec:
        source = BaseSpec(BaseKind.GIT, str(tree), "" if dirty else shorten(ref), dirty, where)
        return replace(base, name=file_name(name, "reference"), base=source, written=ref)

    if change.dirty and not repository.has_worktree:
        raise ConfigError(f"--dirty: {tree} is a bare repository, which has no work tree")
    if change.dirty:
        ref = _one_ref(change, repository, where)
        return at(ref, shorten(ref)), at("--dirty", f"{tree.name}-dirty", dirty=True)
    if change.has_patches or len(change.configs) > 1:
        ref = _one_ref(change, repository, where, series)
        reference = at(ref, shorten(ref))
        return reference, _like(reference, _name_of(patches), patches, change)
    ends = find_ends(repository, change.revisions, where)
    say(f"==> {tree}: {ends.said}")
    return at(ends.reference.ref, ends.reference.name), at(ends.candidate.ref, ends.candidate.name)


def _one_ref(change: Change, repository: Repository, where: str, series: Series | None = None) -> str:
    """The reference in a repository: what was named, else what the series is made for, else HEAD."""
    if change.revisions:
        (ref,) = change.revisions
        find_commit(repository, ref, where)
        return ref
    ref, notes = find_base(repository, series or Series())
    for note in notes:
        say(f"==> {note}")
    return ref


def _with_configs(change: Change, reference: KernelSpec, candidate: KernelSpec) -> Pair:
    """The kernels with whole configurations in place of their fragments, where these were named."""
    if not change.configs:
        return reference, candidate
    for path in change.configs:
        read_whole_config(path)  # now, as the series
    own = [
        replace(spec, whole_config=path, config=(WHOLE_CONFIG,))
        for spec, path in zip((reference, candidate), (*change.configs, change.configs[0]), strict=False)
    ]
    if len(change.configs) == 1:
        return own[0], own[1]
    first, second = (
        replace(spec, name=_name_of_config(path), written=str(path), series=reference.series)
        for spec, path in zip(own, change.configs, strict=True)
    )
    return first, second


def _name_of_config(path: Path) -> str:
    """Most are called ``.config``, so that their folder tells them apart."""
    telling = path.parent.name if path.name in {".config", "config"} else path.name
    return file_name(telling.removesuffix(".config"), "config")


def _name_of(patches: Sequence[Path]) -> str:
    """The first file or folder of a series, without an ending."""
    if not patches:
        return "candidate"
    first = patches[0]
    name = first.name
    if first.is_file():
        for ending in (*PACKED, ".txt", *PATCHES):
            name = name.removesuffix(ending)
    return file_name(name, "candidate")
