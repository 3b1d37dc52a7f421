# SPDX-License-Identifier: GPL-2.0-or-later
"""A directory as a raw ext4 file system, made without a mount."""

from __future__ import annotations

from pathlib import Path

from guestloop.ground import proc
from guestloop.ground.units import MIB

BLOCK_BYTES = 4096

# What is on it can be made again, so it needs no journal. The other features only slow the mount down.
_FEATURES = "^has_journal,^resize_inode,^metadata_csum"


def write_ext4(tree: Path, disk: Path, spare_mib: int) -> None:
    """Write a file system with the files of ``tree``, and ``spare_mib`` of free space, to a regular file.

    Raises ProcessError with the output of mke2fs.
    """
    with disk.open("wb") as file:
        file.truncate(_blocks_needed(tree) * BLOCK_BYTES + spare_mib * MIB)
    argv = ["mke2fs", "-q", "-t", "ext4", "-b", f"{BLOCK_BYTES}", "-m", "0", "-O", _FEATURES]
    proc.run([*argv, "-d", tree, disk])


def _blocks_needed(tree: Path) -> int:
    """Return the blocks for a tree: its content, one more per file for metadata, and a reserve."""
    sizes = [path.lstat().st_size for path in tree.rglob("*")]
    content = sum(-(-size // BLOCK_BYTES) + 1 for size in sizes)
    return content + content // 8
