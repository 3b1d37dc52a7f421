# SPDX-License-Identifier: GPL-2.0-or-later
"""The packages of L1's root as one tar file. This part needs the network and has its own cache entry.

The key consists of the list of packages and this machine's package sources. The versions that these
resolve to are not part of it, because a cached run must not need the network. So a newer package in the
archive does not rebuild the root; to rebuild it, remove the entry. ``/etc/guestloop/packages`` in the root
lists the versions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from guestloop.cache import Cache, file_digest
from guestloop.debian.sources import Release, fetch_options
from guestloop.ground import proc
from guestloop.ground.errors import LabError
from guestloop.ground.log import Step, step

EXPECT_S = 40.0
TIMEOUT_S = 900.0
NETWORK_HINT = "the packages come from this machine's apt sources: does `apt-get update` work?"

_TAR = "root.tar"


def build_root(cache: Cache, recipe: Path, release: Release) -> Path:
    """Return the tar file of unpacked packages, from the cache if possible.

    Raises LabError if this process is not root, ProcessError if packages cannot be fetched, CacheError if
    the disk is full.
    """
    hook = recipe / "record-packages"
    inputs = {
        "format": 1,
        "codename": release.codename,
        "sources": release.render(),
        "packages": list(read_list(recipe / "packages")),
        "hook": file_digest(hook),
    }

    def make(directory: Path) -> None:
        require_root()
        with step("fetching and unpacking L1's packages", expect_s=EXPECT_S) as progress:
            _unpack_packages(directory, recipe, release, progress)

    return cache.obtain("l1-root", inputs, make) / _TAR


def require_root() -> None:
    """Raise LabError unless this process is root."""
    if os.geteuid() != 0:
        raise LabError(
            f"L1's image can only be built as root; this is user {os.geteuid()}",
            hint="run scripts/run once as root; every user of this cache can then use the image",
        )


def read_list(path: Path) -> Iterator[str]:
    """Return the lines of a recipe file, without comments and empty lines."""
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.strip()


def _unpack_packages(directory: Path, recipe: Path, release: Release, progress: Step) -> None:
    sources = directory / "debian.sources"
    options = directory / "apt.conf"
    scratch = directory / "tmp"
    sources.write_text(release.render())
    options.write_text(fetch_options())
    scratch.mkdir(mode=0o755)
    argv: list[str | os.PathLike[str]] = [
        "mmdebstrap",
        # Packages are unpacked and not configured: no maintainer script runs, and none is needed.
        *("--variant=extract", "--mode=root"),
        f"--include={','.join(read_list(recipe / 'packages'))}",
        f"--aptopt={options}",
        f"--extract-hook={recipe / 'record-packages'}",
        release.codename,
        directory / _TAR,
        sources,
    ]
    proc.run(
        argv,
        env={"TMPDIR": os.fspath(scratch)},
        log=directory / "mmdebstrap.log",
        on_line=lambda line: progress.update(line.removeprefix("I: ")[:60]),
        timeout_s=TIMEOUT_S,
        hint=NETWORK_HINT,
    )
    scratch.rmdir()
