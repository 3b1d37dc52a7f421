# SPDX-License-Identifier: GPL-2.0-or-later
"""The root of a simulated lab host: Debian with what scripts/setup installs, our init, and sshd.

It is kept as a disk, from which the host boots, and as a directory, in which programs of the host run on this
machine at full speed (inside.py).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guestloop.cache import Cache, file_digest
from guestloop.config import REPOSITORY
from guestloop.debian.sources import Release, fetch_options, find_release
from guestloop.ground import proc
from guestloop.ground.log import Step, step
from guestloop.images import l1
from guestloop.images.ext4 import write_ext4
from guestloop.images.keys import L1Keys, install_keys, obtain_keys
from guestloop.images.rootfs import NETWORK_HINT, TIMEOUT_S, read_list, require_root
from guestloop.vm.parts import Keys

RECIPE = REPOSITORY / "guest-images" / "lab-host"
ON_EVERY_HOST = REPOSITORY / "scripts/packages"
SSHD_CONFIG = l1.RECIPE / "etc/ssh/sshd_config"
LAB = "lab"
"""The directory of the root that the host's second disk is mounted on, and the serial of that disk."""

KIND = "lab-host-root"
# Part of the key: raise it when this module makes something else of the same files.
FORMAT = 1
EXPECT_S = 90.0
SPARE_MIB = 16

_TREE, _DISK = "root", "root.ext4"


@dataclass(frozen=True)
class LabRoot:
    """The root as a directory and as a disk, which hosts share read-only; ``keys`` are for its sshd."""

    tree: Path
    disk: Path
    keys: Keys


def build_root(cache: Cache, recipe: Path = RECIPE) -> LabRoot:
    """Return the root for a recipe and this machine's Debian release, from the cache if possible.

    Raises ConfigError if the machine does not run Debian, LabError if this process is not root, ProcessError
    if packages cannot be fetched, CacheError if the disk is full.
    """
    release, keys = find_release(), obtain_keys(cache)

    def make(directory: Path) -> None:
        require_root()
        directory.chmod(0o700)  # setuid programs, and the host's private key
        with step("making the root of the lab host", expect_s=EXPECT_S) as progress:
            root = directory / _TREE
            _install_packages(directory, root, recipe, release, progress)
            progress.update("writing its disk")
            _complete(root, recipe, keys)
            write_ext4(root, directory / _DISK, SPARE_MIB)

    entry = cache.obtain(KIND, describe_root(recipe, release, keys), make)
    return LabRoot(entry / _TREE, entry / _DISK, Keys(keys.client.private, keys.host.public))


def describe_root(recipe: Path, release: Release, keys: L1Keys) -> Mapping[str, object]:
    """All inputs of the root but the versions of the packages, as for L1's (images/rootfs.py)."""
    return {
        "format": FORMAT,
        "codename": release.codename,
        "sources": release.render(),
        "packages": read_packages(recipe),
        "exclude": list(read_list(recipe / "exclude")),
        "init": file_digest(recipe / "init"),
        "sshd": file_digest(SSHD_CONFIG),
        "keys": [keys.client.public, keys.host.public],
    }


def read_packages(recipe: Path) -> list[str]:
    """The packages of a recipe, after all that scripts/setup installs on a host, optional ones included."""
    lines = [*read_list(ON_EVERY_HOST), *read_list(recipe / "packages")]
    return [line.split()[0] for line in lines]


def _install_packages(directory: Path, root: Path, recipe: Path, release: Release, progress: Step) -> None:
    """Unlike L1's they are configured: dpkg has to say that they are installed, as on any host."""
    sources, options, scratch = (directory / name for name in ("debian.sources", "apt.conf", "tmp"))
    sources.write_text(release.render())
    options.write_text(f'{fetch_options()}APT::Install-Recommends "false";\n')
    scratch.mkdir(mode=0o755)
    argv: list[proc.Arg] = [
        "mmdebstrap",
        *("--variant=essential", "--mode=root", "--format=directory"),
        f"--include={','.join(read_packages(recipe))}",
        f"--aptopt={options}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in read_list(recipe / "exclude")),
        *(release.codename, root, sources),
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


def _complete(root: Path, recipe: Path, keys: L1Keys) -> None:
    (root / LAB).mkdir()
    shutil.copy(recipe / "init", root / "sbin/init")
    shutil.copy(SSHD_CONFIG, root / "etc/ssh/sshd_config")
    install_keys(root / "etc/guestloop", keys)
