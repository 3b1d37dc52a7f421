# SPDX-License-Identifier: GPL-2.0-or-later
"""The compiler and linker: what identifies them, and make's variables and environment for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from guestloop.cache import Cache
from guestloop.ground import proc

BUILD_HINT = "a kernel build needs gcc make flex bison bc git libelf-dev libssl-dev xz-utils"
CCACHE_SIZE = "2G"

# Equal inputs must result in equal output: nothing of the machine, user or time may go into a kernel.
REPRODUCIBLE = {
    "KBUILD_BUILD_TIMESTAMP": "Thu, 01 Jan 1970 00:00:00 +0000",
    "KBUILD_BUILD_USER": "guestloop",
    "KBUILD_BUILD_HOST": "guestloop",
    "KBUILD_BUILD_VERSION": "1",
    "LC_ALL": "C",
}


@dataclass(frozen=True)
class Toolchain:
    """The versions of compiler and linker, and whether ccache is used."""

    compiler: str
    linker: str
    ccache: bool

    @property
    def identity(self) -> Mapping[str, str]:
        """What the content of a kernel depends on. It does not depend on ccache."""
        return {"compiler": self.compiler, "linker": self.linker}

    @property
    def make_variables(self) -> tuple[str, ...]:
        """The variables for make's command line."""
        return ("CC=ccache gcc", "HOSTCC=ccache gcc") if self.ccache else ()

    def environment(self, cache: Cache) -> Mapping[str, str]:
        """Return the environment of a build below ``cache``. ccache still hits after the cache was moved."""
        if not self.ccache:
            return REPRODUCIBLE
        return REPRODUCIBLE | {
            "CCACHE_DIR": os.fspath(cache.root / "ccache"),
            # Not the settings in that directory: a build can write them, and they can name programs to run.
            "CCACHE_CONFIGPATH": os.devnull,
            "CCACHE_BASEDIR": os.fspath(cache.root),
            "CCACHE_NOHASHDIR": "1",
            "CCACHE_MAXSIZE": CCACHE_SIZE,
        }


def find_toolchain() -> Toolchain:
    """Find the compiler and linker of this machine. Raises LabError with the name of a missing one."""
    return Toolchain(_version("gcc"), _version("ld"), proc.has_program("ccache"))


def _version(program: str) -> str:
    path = proc.find_program(program, hint=BUILD_HINT)
    return _read_version(path, path.stat().st_mtime_ns)


@cache
def _read_version(path: Path, _changed_ns: int) -> str:
    """It is asked for with every kernel, and may be another one after an upgrade."""
    return proc.read([path, "--version"]).lines[0]
