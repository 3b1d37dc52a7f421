# SPDX-License-Identifier: GPL-2.0-or-later
"""What was taken for base, series and configuration of a kernel, for the user and for the record."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from guestloop.cache import Cache
from guestloop.config import REPOSITORY, KernelSpec
from guestloop.kernels import kconfig
from guestloop.kernels.build import Inputs
from guestloop.kernels.whole import laid_over, read_whole_config
from guestloop.results.provenance import ConfigRecord, PatchRecord, Provenance
from guestloop.sources import Series, Source, find_source, read_series


def describe_inputs(spec: KernelSpec, inputs: Inputs) -> Provenance:
    """What a kernel is built from."""
    applied = inputs.applied
    config = _describe_config(spec, inputs.options, inputs.whole_config)
    return _describe(inputs.source, applied.series, config, applied.tree.id, applied.notes)


def describe_attempt(spec: KernelSpec, cache: Cache) -> Provenance:
    """The same for a kernel whose series does not apply, so that there is no tree."""
    source = find_source(spec.base, spec.base_named, cache)
    whole = read_whole_config(spec.whole_config) if spec.whole_config else {}
    config = _describe_config(spec, kconfig.merge(spec.config), whole)
    return _describe(source, read_series(spec.series), config)


def _describe(
    source: Source, series: Series, config: ConfigRecord, tree: str = "", notes: tuple[str, ...] = ()
) -> Provenance:
    commit = source.identity.get("commit") or source.identity.get("head", "")
    return Provenance(
        base=source.description,
        tree=tree,
        base_commit=commit,
        patches=tuple(
            PatchRecord(patch.name, patch.subject, patch.sha256, patch.message_id) for patch in series.patches
        ),
        config=config,
        notes=(*source.notes, *series.notes, *_made_for(series, commit), *notes),
    )


def _made_for(series: Series, commit: str) -> Iterator[str]:
    """A word where a series goes on top of something else than it says."""
    if series.base_commit and series.base_commit != commit:
        yield f"made for base-commit {series.base_commit[:12]}, which this base is not"


def _describe_config(spec: KernelSpec, options: Mapping[str, str], whole: Mapping[str, str]) -> ConfigRecord:
    """The files of a kernel's configuration, the digest of all their options, and what these change."""
    text = kconfig.render(whole) + kconfig.render(options)
    files = (*([spec.whole_config] if spec.whole_config else []), *spec.config)
    return ConfigRecord(
        files=tuple(map(_shown, files)),
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        laid_over=laid_over(whole, options) if whole else (),
    )


def _shown(path: Path) -> str:
    """A file as it is called in the repository, elsewhere by its whole path."""
    inside = path.is_relative_to(REPOSITORY)
    return os.fspath(path.relative_to(REPOSITORY) if inside else path)
