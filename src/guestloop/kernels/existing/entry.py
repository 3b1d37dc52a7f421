# SPDX-License-Identifier: GPL-2.0-or-later
"""Unpacked kernels in the cache, by the digests of the files that they were unpacked from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from guestloop.cache import Cache, content_key
from guestloop.kernels.existing.checks import check_kernel
from guestloop.kernels.existing.layout import Layout, find_layout
from guestloop.kernels.origin import Origin, Unpacked

KIND = "unpacked-kernel"
FORMAT = 1
DESCRIPTION = "layout.json"
ROOT = "root"


def describe(digests: Iterable[str]) -> dict[str, object]:
    """The inputs of an entry: the SHA-256 of each file, whatever its name and where it came from."""
    return {"format": FORMAT, "files": sorted(digests)}


def combine(digests: Mapping[str, str]) -> str:
    """One digest for many files by name."""
    return content_key(dict(digests))


def find(cache: Cache, digests: Iterable[str]) -> Layout | None:
    """The kernel that was unpacked from these files, if it is in the cache."""
    entry = cache.find(KIND, describe(digests))
    return _read(entry) if entry else None


def obtain(
    cache: Cache, digests: Iterable[str], argument: str, unpack: Callable[[Path, Path], None]
) -> Layout:
    """The kernel of these files; if it is not in the cache, ``unpack`` fills a root with it.

    ``unpack`` gets a directory for scratch files and the root. Raises ConfigError if what it leaves there
    is not one kernel that can be L1, and then nothing is kept.
    """

    def make(directory: Path) -> None:
        scratch, root = directory / "tmp", directory / ROOT
        scratch.mkdir()
        root.mkdir()
        unpack(scratch, root)
        scratch.rmdir()
        layout = find_layout(root, argument)
        check_kernel(layout, f"--kernels {argument}")
        _write(directory, layout)

    return _read(cache.obtain(KIND, describe(digests), make))


def unpacked(layout: Layout, origin: Origin) -> Unpacked:
    """The kernel of a layout, with where it came from."""
    return Unpacked(layout.release, layout.image, layout.modules, layout.config, origin)


def _write(directory: Path, layout: Layout) -> None:
    """Store a layout with paths relative to the entry, which is renamed when it is complete."""
    facts = {
        name: str(value.relative_to(directory)) if isinstance(value, Path) else value
        for name, value in asdict(layout).items()
    }
    (directory / DESCRIPTION).write_text(json.dumps(facts, indent=2) + "\n")


def _read(directory: Path) -> Layout:
    facts = json.loads((directory / DESCRIPTION).read_text())
    release = facts.pop("release")
    return Layout(release, **{name: directory / path for name, path in facts.items()})
