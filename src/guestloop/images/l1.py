# SPDX-License-Identifier: GPL-2.0-or-later
"""The root disk of L1: Debian packages, our own init, and keys. The ext4 image is made without a mount.

The cache has three entries for it, so that a change rebuilds no more than necessary: the packages
(rootfs.py), the keys (keys.py), and the disk, which is made of both and of the recipe in guest-images/l1.
All L1s share the disk and attach it read-only. What differs between L1s is on the payload disk.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from guestloop.cache import Cache, file_digest
from guestloop.config import REPOSITORY
from guestloop.debian.sources import find_release
from guestloop.ground import proc
from guestloop.ground.log import step
from guestloop.images.compiler import compile_program, describe_program
from guestloop.images.ext4 import write_ext4
from guestloop.images.keys import L1Keys, install_keys, obtain_keys
from guestloop.images.rootfs import build_root, read_list, require_root

RECIPE = REPOSITORY / "guest-images" / "l1"
EXPECT_S = 20.0
PYTHON = "usr/bin/python3"
MOUNT_POINTS = ("dev", "proc", "root", "run", "sys", "tmp", "usr/share/empty", "var/tmp")
SPARE_MIB = 16

_DISK = "root.ext4"
_DIGEST = "sha256"


@dataclass(frozen=True)
class L1Image:
    """What an L1 needs to boot, besides a kernel.

    ``disk`` is a raw ext4 file system. It is attached read-only as the first virtio disk.
    ``client_key`` is the private key file that logs in as root. ``host_key`` is the public key
    (``ssh-ed25519 AAAA...``) that L1 must present. ``sha256`` is the digest of the disk.
    """

    disk: Path
    client_key: Path
    host_key: str
    sha256: str


def build_l1(cache: Cache, recipe: Path = RECIPE) -> L1Image:
    """Return the root disk for a recipe and this machine's Debian release, from the cache if possible.

    Raises ConfigError if the machine does not run Debian, LabError if this process is not root or there
    are no package sources, ProcessError if packages cannot be fetched, CacheError if the disk is full.
    """
    tar = build_root(cache, recipe, find_release())
    keys = obtain_keys(cache)
    inputs = describe_disk(recipe, tar, keys)

    def make(directory: Path) -> None:
        require_root()
        with step("making L1's disk", expect_s=EXPECT_S) as progress:
            root = directory / "root"
            progress.update("unpacking")
            _unpack(tar, recipe, root)
            progress.update("compiling")
            _complete(root, recipe, keys)
            progress.update("writing")
            write_ext4(root, directory / _DISK, SPARE_MIB)
            shutil.rmtree(root)
            (directory / _DIGEST).write_text(file_digest(directory / _DISK))

    entry = cache.obtain("l1-image", inputs, make)
    return L1Image(entry / _DISK, keys.client.private, keys.host.public, (entry / _DIGEST).read_text())


def describe_disk(recipe: Path, tar: Path, keys: L1Keys) -> dict[str, object]:
    """Describe all inputs of the disk: the recipe, the cache entry of the packages, the keys."""
    files = [recipe / "exclude", *sorted(path for path in (recipe / "etc").rglob("*") if path.is_file())]
    return {
        "format": 1,
        "packages": tar.parent.name,
        "init": describe_program(recipe),
        "files": {f"{path.relative_to(recipe)}": file_digest(path) for path in files},
        "keys": [keys.client.public, keys.host.public],
    }


def _unpack(tar: Path, recipe: Path, root: Path) -> None:
    root.mkdir()
    patterns = [f"--exclude={pattern}" for pattern in read_list(recipe / "exclude")]
    proc.run(["tar", "--extract", "--numeric-owner", f"--file={tar}", f"--directory={root}", *patterns])


def _complete(root: Path, recipe: Path, keys: L1Keys) -> None:
    """Turn unpacked packages into a root file system that boots."""
    for name in MOUNT_POINTS:
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copytree(recipe / "etc", root / "etc", dirs_exist_ok=True)
    compile_program(recipe, root / "sbin/init")
    install_keys(root / "etc/guestloop", keys)
    # Install each busybox tool under its own name, unless a package has installed that name already.
    proc.run(["chroot", root, "/bin/busybox", "--install", "-s"])
    proc.run(["ldconfig", "-r", root])
    _compile_python(root)


def _compile_python(root: Path) -> None:
    """Compile the library with L1's own Python, because L1's root is read-only and cannot store the result.

    With unchecked hashes Python does not look at the source on each import.
    """
    library = f"/usr/lib/{(root / PYTHON).readlink().name}"
    flags = ["-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    proc.run(["chroot", root, f"/{PYTHON}", *flags, library])
