# SPDX-License-Identifier: GPL-2.0-or-later
"""The initramfs of L2: the static payload of guest-images/l2 as ``/init``, and ``/dev/console``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guestloop.cache import Cache, file_digest
from guestloop.config import REPOSITORY
from guestloop.ground.log import step
from guestloop.images import cpio
from guestloop.images.compiler import compile_program, describe_program

RECIPE = REPOSITORY / "guest-images" / "l2"
EXPECT_S = 2.0

_INITRAMFS = "initramfs.cpio"


@dataclass(frozen=True)
class L2Image:
    """What an L2 needs to boot, besides a kernel. ``sha256`` is the digest of the initramfs."""

    initramfs: Path
    sha256: str


def build_l2(cache: Cache, recipe: Path = RECIPE) -> L2Image:
    """Return the initramfs for the sources in ``recipe``, from the cache if possible."""
    inputs = {"format": 1, "program": describe_program(recipe)}

    def make(directory: Path) -> None:
        with step("building the L2 payload", expect_s=EXPECT_S):
            _make_initramfs(recipe, directory / _INITRAMFS)

    initramfs = cache.obtain("l2-image", inputs, make) / _INITRAMFS
    return L2Image(initramfs, file_digest(initramfs))


def _make_initramfs(recipe: Path, output: Path) -> None:
    program = output.with_name("init")
    compile_program(recipe, program)
    # Without /dev/console the kernel starts /init with no standard output.
    members = [
        cpio.directory("dev"),
        cpio.character_device("dev/console", 5, 1),
        cpio.program("init", program.read_bytes()),
    ]
    output.write_bytes(cpio.archive(members))
