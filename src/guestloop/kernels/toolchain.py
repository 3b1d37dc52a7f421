"""The compiler: what identifies it, and the part of make's command line and environment that goes with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guestloop.cache import Cache
from guestloop.ground import proc

BUILD_HINT = "a kernel build needs gcc make flex bison bc patch libelf-dev libssl-dev xz-utils"
CCACHE_SIZE = "2G"

# Equal input gives equal output: nothing of the machine, the user or the time goes into a kernel.
REPRODUCIBLE = {
    "KBUILD_BUILD_TIMESTAMP": "Thu, 01 Jan 1970 00:00:00 +0000",
    "KBUILD_BUILD_USER": "guestloop",
    "KBUILD_BUILD_HOST": "guestloop",
    "KBUILD_BUILD_VERSION": "1",
    "LC_ALL": "C",
}


@dataclass(frozen=True)
class Toolchain:
    """Compiler and linker by version, and whether ccache stands before the compiler."""

    compiler: str
    linker: str
    ccache: bool

    @property
    def identity(self) -> Mapping[str, str]:
        """What decides the content of a kernel; ccache does not."""
        return {"compiler": self.compiler, "linker": self.linker}

    @property
    def make_variables(self) -> tuple[str, ...]:
        """Variables for make's command line."""
        return ("CC=ccache gcc", "HOSTCC=ccache gcc") if self.ccache else ()

    def environment(self, cache: Cache) -> Mapping[str, str]:
        """Environment of a build below ``cache``; what ccache keeps is found again at another place too."""
        if not self.ccache:
            return REPRODUCIBLE
        return REPRODUCIBLE | {
            "CCACHE_DIR": os.fspath(cache.root / "ccache"),
            "CCACHE_BASEDIR": os.fspath(cache.root),
            "CCACHE_NOHASHDIR": "1",
            "CCACHE_MAXSIZE": CCACHE_SIZE,
        }


def find_toolchain() -> Toolchain:
    """The compiler and linker of this machine. Raises LabError naming the one that is missing."""
    return Toolchain(_version("gcc"), _version("ld"), shutil.which("ccache") is not None)


def _version(program: str) -> str:
    path: Path = proc.find_program(program, hint=BUILD_HINT)
    return proc.run([path, "--version"], env={"LC_ALL": "C"}).output.splitlines()[0]
