# SPDX-License-Identifier: GPL-2.0-or-later
"""Compile static C programs for guests: L1's init and L2's payload."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from guestloop.cache import file_digest
from guestloop.ground import proc

FLAGS = ("-std=gnu11", "-O2", "-static", "-pthread", "-s", "-Wall", "-Wextra", "-Werror")
INSTALL_HINT = "gcc and libc6-dev are needed; scripts/run installs them when it runs as root"


def describe_program(directory: Path) -> Mapping[str, object]:
    """Describe all inputs of a program, for the key of a cache entry.

    The compiler's version is left out. To find it, each cached run would have to start a process, and a
    newer compiler is no reason for a new build.
    """
    sources = sorted([*directory.glob("*.c"), *directory.glob("*.h")])
    return {"flags": FLAGS, "sources": {path.name: file_digest(path) for path in sources}}


def compile_program(directory: Path, output: Path) -> None:
    """Compile every ``*.c`` of a directory into one program. Raises ProcessError with gcc's output."""
    sources = sorted(directory.glob("*.c"))
    proc.run(["gcc", *FLAGS, "-o", output, *sources], bare=True, hint=INSTALL_HINT)
