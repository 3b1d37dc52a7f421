"""The packages of L1's root as one tar file: the part that needs the network, cached by itself.

The key is the list of packages and the package sources of this machine, not the versions that they
resolve to: a cached run must not need the network. So a newer package in the archive does not
rebuild the root; removing the entry does. What was resolved is in ``/etc/guestloop/packages``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from guestloop.cache import Cache, file_digest
from guestloop.ground import proc
from guestloop.ground.errors import LabError
from guestloop.ground.log import Step, step
from guestloop.images.apt import Release, fetch_options

EXPECT_S = 40.0
TIMEOUT_S = 900.0
NETWORK_HINT = "the packages come from this machine's own apt sources: does `apt-get update` work?"

_TAR = "root.tar"


def build_root(cache: Cache, recipe: Path, release: Release) -> Path:
    """The tar file of unpacked packages, from the cache when it is there.

    Raises LabError without root, ProcessError when packages cannot be fetched, CacheError when
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
            hint="run scripts/run once as root; what is in the cache then serves every user of it",
        )


def read_list(path: Path) -> Iterator[str]:
    """The lines of a recipe file, without comments and empty ones."""
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
        # Unpacked and not configured: no maintainer script runs, and what they would do is not needed.
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
