# SPDX-License-Identifier: GPL-2.0-or-later
"""The second disk of a lab host, all that differs from run to run: checkout, cache, the host's own KVM.

It is made for one boot, in a file without a name.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from guestloop.cache import Cache
from guestloop.config import REPOSITORY
from guestloop.ground import proc
from guestloop.ground.isolated import FLAGS
from guestloop.ground.log import Step, step
from guestloop.images.ext4 import write_ext4
from guestloop.kernels import Kernel
from guestloop.machines.host import Vendor
from labhost.environment import CHECKOUT, THERE, VENV
from labhost.inside import inside
from labhost.prime import USED
from labhost.root import LAB, RECIPE, LabRoot
from mutation.tree import Tree

CACHE, MODULES, RESULTS, SETTINGS = f"{THERE}/cache", "modules", "results", "config"
SPARE_MIB = 2048  # for two swap disks of L1s, and results
EXPECT_S = 20.0

# What only a build reads of an entry: a run on the lab host has to find these entries, and builds nothing.
_FOR_BUILDS = frozenset({("tree", "objects"), ("l1-root", "root.tar")})

# Modules of a vendor that the emulated CPU is not of.
_USELESS = frozenset({Vendor.INTEL.module.replace("_", "-")})


def make_stage(
    directory: Path, root: LabRoot, environment: Path, kernels: Sequence[str], cache: Cache
) -> None:
    """Fill a new directory with what a run of these kernels needs, for any host.

    What is missing in the cache is built now. Raises ProcessError with the output of what failed.
    """
    with step("filling the disk of the lab host", expect_s=EXPECT_S) as progress:
        progress.update("checkout")
        top = Tree.copy(REPOSITORY, directory / CHECKOUT).top
        _link_tree(environment, top / VENV)
        (directory / RESULTS).mkdir()
        (directory / SETTINGS / "guestloop").mkdir(parents=True)
        shutil.copy(RECIPE / "profiles.yaml", directory / SETTINGS / "guestloop")
        progress.update("cache")
        for entry in _prime(directory, root, kernels, cache, progress):
            _link_entry(cache.root, entry, directory / CACHE)


# Isolated Python finds guestloop, which is installed there, and not the packages of the tests.
_BOOT = """\
import runpy, sys
sys.path.insert(0, sys.argv.pop(1))
runpy.run_module("labhost.prime", run_name="__main__", alter_sys=True)
"""


def _prime(
    directory: Path, root: LabRoot, kernels: Sequence[str], cache: Cache, progress: Step
) -> Iterable[Path]:
    """The entries of this machine's cache that a run on the host takes (prime.py), which are made now."""
    (directory / CACHE).mkdir()
    top = f"/{LAB}/{CHECKOUT}"
    command = inside(
        root.tree,
        [f"{top}/{VENV}/bin/python", *FLAGS, "-c", _BOOT, f"{top}/selftests", *kernels],
        {"": directory, CACHE: cache.root},
        {"GUESTLOOP_CACHE": f"/{LAB}/{CACHE}"},
    )
    used: list[Path] = []

    def on_line(line: str) -> None:
        if line.startswith(USED):
            used.append(Path(line.removeprefix(USED)))
        else:
            progress.update(line.strip()[:60])

    proc.run(command, bare=True, on_line=on_line)
    return used


def _link_entry(cache: Path, entry: Path, into: Path) -> None:
    def left_out(folder: str, names: list[str]) -> Iterable[str]:
        top = Path(folder) == cache / entry
        return [name for name in names if top and (entry.parts[0], name) in _FOR_BUILDS]

    shutil.copytree(cache / entry, into / entry, symlinks=True, ignore=left_out, copy_function=_link_or_copy)


def _link_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> None:
    """Nothing here is changed, so a second name of a file is as good as a copy where it can be had."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


@contextmanager
def lab_disk(stage: Path, kernel: Kernel) -> Iterator[IO[bytes]]:
    """The disk for a host that runs ``kernel``: the stage, and the host's own KVM modules."""
    modules = stage / MODULES
    modules.mkdir()
    try:
        _put_modules(kernel, modules)
        with tempfile.TemporaryFile(dir=stage.parent) as disk:
            with step("writing the disk of the lab host", expect_s=EXPECT_S):
                write_ext4(stage, Path(f"/proc/{os.getpid()}/fd/{disk.fileno()}"), SPARE_MIB)
            yield disk
    finally:
        shutil.rmtree(modules)


def _put_modules(kernel: Kernel, directory: Path) -> None:
    files = {name: path for name, path in kernel.modules.items() if name not in _USELESS}
    for path in files.values():
        shutil.copy(path, directory)
    (directory / "order").write_text("".join(f"{path.name}\n" for path in files.values()))
