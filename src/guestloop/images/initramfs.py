# SPDX-License-Identifier: GPL-2.0-or-later
"""The initramfs of an L1 whose kernel has drivers of its root as modules."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from guestloop.config import REPOSITORY
from guestloop.images import cpio
from guestloop.images.compiler import compile_program, describe_program

RECIPE = REPOSITORY / "guest-images" / "initramfs"


def describe_initramfs(recipe: Path = RECIPE) -> Mapping[str, object]:
    """Describe what an initramfs is made from besides the modules, for the key of a cache entry."""
    return {"format": 1, "program": describe_program(recipe)}


def write_initramfs(modules: Mapping[str, bytes], output: Path, recipe: Path = RECIPE) -> None:
    """Write an initramfs that inserts modules and goes on with the init of L1's root.

    ``modules`` maps the names of files to their content, in load order. Raises ProcessError with the output
    of gcc.
    """
    program = output.with_name("init")
    compile_program(recipe, program)
    output.write_bytes(cpio.archive(_members(modules, program.read_bytes())))
    program.unlink()


def _members(modules: Mapping[str, bytes], program: bytes) -> list[cpio.Member]:
    order = "".join(f"{name}\n" for name in modules).encode()
    files = {"order": order, **modules}
    # Without /dev/console the kernel starts /init with no standard output.
    return [
        *(cpio.directory(name) for name in ("dev", "modules", "root")),
        cpio.character_device("dev/console", 5, 1),
        cpio.program("init", program),
        *(cpio.Member(f"modules/{name}", stat.S_IFREG | 0o644, data) for name, data in files.items()),
    ]
