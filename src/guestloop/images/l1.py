"""The root disk of L1: Debian packages, our own init, and keys, as an ext4 image made without mounts.

Three entries of the cache, so that a change rebuilds no more than it must: the packages (rootfs.py),
the keys (keys.py), and the disk made of both and the recipe in guest-images/l1. The disk is attached
read-only and shared by every L1; what differs between L1s comes on the payload disk.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from guestloop.cache import Cache, file_digest
from guestloop.config import REPOSITORY
from guestloop.ground import proc
from guestloop.ground.log import step
from guestloop.images.apt import find_release
from guestloop.images.compiler import compile_program, describe_program
from guestloop.images.keys import PRIVATE_MODE, L1Keys, obtain_keys
from guestloop.images.rootfs import build_root, read_list, require_root

RECIPE = REPOSITORY / "guest-images" / "l1"
EXPECT_S = 20.0
PYTHON = "usr/bin/python3"
MOUNT_POINTS = ("dev", "proc", "root", "run", "sys", "tmp", "usr/share/empty", "var/tmp")
BLOCK_BYTES = 4096
SPARE_BLOCKS = 4096

_DISK, _DIGEST = "root.ext4", "sha256"
# No journal: the file system is never written. The other features only cost time at the mount.
_FEATURES = "^has_journal,^resize_inode,^metadata_csum"


@dataclass(frozen=True)
class L1Image:
    """What an L1 boots besides a kernel.

    ``disk`` is a raw ext4 file system, to be attached read-only as the first virtio disk.
    ``client_key`` is the private key file that logs in as root, ``host_key`` the public key
    (``ssh-ed25519 AAAA...``) by which L1 must be known. ``sha256`` is the digest of the disk.
    """

    disk: Path
    client_key: Path
    host_key: str
    sha256: str


def build_l1(cache: Cache, recipe: Path = RECIPE) -> L1Image:
    """The root disk for this recipe and this machine's Debian release, from the cache when it is there.

    Raises ConfigError on a machine that is not Debian, LabError without root or package sources,
    ProcessError when packages cannot be fetched, CacheError when the disk is full.
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
            _write_disk(root, directory / _DISK)
            shutil.rmtree(root)
            (directory / _DIGEST).write_text(file_digest(directory / _DISK))

    entry = cache.obtain("l1-image", inputs, make)
    return L1Image(entry / _DISK, keys.client.private, keys.host.public, (entry / _DIGEST).read_text())


def describe_disk(recipe: Path, tar: Path, keys: L1Keys) -> dict[str, object]:
    """All that goes into the disk: recipe, entry of the packages, keys."""
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
    """Make unpacked packages a root that boots."""
    for name in MOUNT_POINTS:
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copytree(recipe / "etc", root / "etc", dirs_exist_ok=True)
    compile_program(recipe, root / "sbin/init")
    _install_keys(root / "etc/guestloop", keys)
    # Each tool of busybox under its own name, where no package has it already.
    proc.run(["chroot", root, "/bin/busybox", "--install", "-s"])
    proc.run(["ldconfig", "-r", root])
    _compile_python(root)


def _install_keys(directory: Path, keys: L1Keys) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    host_key = directory / "host_key"
    host_key.touch(PRIVATE_MODE)
    host_key.write_bytes(keys.host.private.read_bytes())
    (directory / "authorized_keys").write_text(f"{keys.client.public}\n")


def _compile_python(root: Path) -> None:
    """Compile with L1's own Python: its root is read-only, so it could never keep the result.

    Unchecked: Python need not look at the source again on each import.
    """
    library = f"/usr/lib/{(root / PYTHON).readlink().name}"
    flags = ["-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    proc.run(["chroot", root, f"/{PYTHON}", *flags, library])


def _write_disk(root: Path, disk: Path) -> None:
    with disk.open("wb") as file:
        file.truncate(_blocks_needed(root) * BLOCK_BYTES)
    argv = ["mke2fs", "-q", "-t", "ext4", "-b", f"{BLOCK_BYTES}", "-m", "0", "-O", _FEATURES]
    proc.run([*argv, "-d", root, disk], env={"PATH": f"/usr/sbin:/sbin:{os.environ.get('PATH', '')}"})


def _blocks_needed(root: Path) -> int:
    """Blocks for a tree: its content, one more a file for what the file system itself needs, and some."""
    sizes = [path.lstat().st_size for path in root.rglob("*")]
    content = sum(-(-size // BLOCK_BYTES) + 1 for size in sizes)
    return content + content // 8 + SPARE_BLOCKS
