# SPDX-License-Identifier: GPL-2.0-or-later
"""From Debian's source of QEMU and our patches to one program in the cache.

Only what L1's command line (vm/argv.py) needs is built: one target, one machine, virtio disks and network.
Firmware is not: the installed package has it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from guestloop.cache import Cache, file_digest
from guestloop.config import REPOSITORY
from guestloop.ground import proc
from guestloop.ground.log import Step, step
from guestloop.kernels.toolchain import Toolchain, find_toolchain
from guestloop.machines.emulator.source import DebianSource, find_source
from guestloop.machines.kind import PROGRAM
from guestloop.sources import DirectoryStage, apply, read_series

RECIPE = REPOSITORY / "emulators" / "qemu-7.2"
KIND = "emulator"
# Part of the key: raise it when this module builds the same input in another way.
FORMAT = 1
CPU_S = 330.0  # of a build, on a slow core
FETCH_S = 30.0
BUILD_HINT = "scripts/run installs what a build of QEMU needs when it runs as root"

_DEVICES = "devices.mak"
_TARGET = "x86_64-softmmu"
_CONFIGURE = (
    f"--target-list={_TARGET}",
    *("--without-default-features", "--without-default-devices", "--with-devices-x86_64=guestloop"),
    *("--enable-tcg", "--enable-slirp", "--disable-install-blobs"),
    *("--disable-docs", "--disable-tools", "--disable-guest-agent", "--disable-user"),
)
_PROGRESS = re.compile(r"\[(\d+)/(\d+)\] .*?([^/ ]*)")


@dataclass(frozen=True)
class Emulator:
    """An emulator that was built: the program, what it was made of (``qemu 1:7.2+dfsg-7``), its patches."""

    program: Path
    source: str
    series: tuple[str, ...]

    def __str__(self) -> str:
        numbers = " ".join(name.partition("-")[0] for name in self.series)
        return f"{self.source}, patches {numbers}, build {self.program.parent.name[:12]}"


def build_emulator(cache: Cache, recipe: Path = RECIPE) -> Emulator:
    """The emulator for the patches and devices in ``recipe``, from the cache or built now.

    Raises LabError when QEMU's package is not installed, ProcessError when its source cannot be fetched
    or does not compile, ConfigError when a patch does not apply, CacheError when the disk is full.
    """
    source = find_source()
    series = read_series(sorted(recipe.glob("*.patch")))
    inputs = {
        "format": FORMAT,
        "source": [source.name, source.version],
        "series": [patch.sha256 for patch in series.patches],
        "devices": file_digest(recipe / _DEVICES),
        "configure": list(_CONFIGURE),
    }

    def make(directory: Path) -> None:
        tree = _unpack(source, directory / "tmp")
        hint = f"the patches in {recipe} are made for QEMU 7.2, as Debian 12 has it"
        apply(DirectoryStage(tree), series, hint=hint)
        shutil.copyfile(recipe / _DEVICES, tree / "configs/devices" / _TARGET / "guestloop.mak")
        _compile(source, tree, directory / PROGRAM, cache)
        shutil.rmtree(directory / "tmp")

    directory = cache.obtain(KIND, inputs, make)
    return Emulator(directory / PROGRAM, str(source), series.names)


def _unpack(source: DebianSource, scratch: Path) -> Path:
    with step("fetching the emulator's source", expect_s=FETCH_S) as progress:
        return source.unpack(scratch, progress)


def _compile(source: DebianSource, tree: Path, program: Path, cache: Cache) -> None:
    objects = tree.with_name("build")
    objects.mkdir()
    jobs = len(os.sched_getaffinity(0))
    toolchain = find_toolchain()
    log, env = program.with_name("build.log"), _environment(toolchain, cache)
    with step(f"build the emulator ({source})", expect_s=CPU_S / jobs) as progress:
        progress.update("configuring")
        compiler = [f"--cc={'ccache gcc' if toolchain.ccache else 'gcc'}"]
        configure: Sequence[proc.Arg] = [tree / "configure", *_CONFIGURE, *compiler]
        proc.run(configure, cwd=objects, env=env, bare=True, log=log, hint=BUILD_HINT)
        ninja: Sequence[proc.Arg] = ["ninja", "-C", objects, f"-j{jobs}", PROGRAM]
        show = partial(_show, progress)
        proc.run(ninja, env=env, bare=True, log=log, on_line=show, hint=BUILD_HINT)
        proc.run(["strip", "--strip-all", "-o", program, objects / PROGRAM])
        progress.update("")


def _environment(toolchain: Toolchain, cache: Cache) -> Mapping[str, str]:
    """Debian's Python, whatever else is first in PATH; a ccache that no build of a kernel can write to."""
    own = {"PYTHON": "/usr/bin/python3", "NINJA_STATUS": "[%f/%t] "}
    if toolchain.ccache:
        own["CCACHE_DIR"] = os.fspath(cache.root / "ccache-emulator")
    return {**toolchain.environment(cache), **own}


def _show(progress: Step, line: str) -> None:
    match = _PROGRESS.fullmatch(line)
    if match:
        done, total = int(match[1]), int(match[2])
        progress.update(f"{done} of {total}, {match[3]}", min(done / total, 0.99))
