# SPDX-License-Identifier: GPL-2.0-or-later
"""The Python environment of the checkout on a lab host, as scripts/setup makes it there."""

from __future__ import annotations

import shutil
import sys
import tomllib
from pathlib import Path

from guestloop.cache import Cache, file_digest
from guestloop.config import REPOSITORY
from guestloop.ground import proc
from guestloop.ground.log import step
from labhost.inside import inside
from labhost.root import LAB, LabRoot

THERE = "there"  # below /lab: what scripts/run --host keeps on a host (--host-dir), and so do we
CHECKOUT = f"{THERE}/checkouts/1/guestloop"
VENV = ".venv"
KIND = "lab-host-python"
# Part of the key: raise it when this module makes something else of the same files.
FORMAT = 2
EXPECT_S = 60.0
PIP_HINT = "pip needs a package index: network, or PIP_INDEX_URL"

# What pip needs of the checkout; the package itself stays where it is (an editable install).
_NEEDED = ("pyproject.toml", "README.md", "LICENSE", "scripts", "src")


def build_environment(cache: Cache, root: LabRoot) -> Path:
    """Return the environment for pyproject.toml and a root, from the cache or made now.

    Raises ProcessError if pip fails.
    """
    inputs = {
        "format": FORMAT,
        "project": file_digest(REPOSITORY / "pyproject.toml"),
        "setup": file_digest(REPOSITORY / "scripts/setup"),
        "root": root.tree.parent.name,
    }
    return cache.obtain(KIND, inputs, lambda directory: _make(directory, root)) / VENV


def _make(directory: Path, root: LabRoot) -> None:
    with step("making the Python environment of the lab host", expect_s=EXPECT_S) as progress:
        wheels, lab = directory / "wheels", directory / LAB
        progress.update("fetching packages")
        _fetch(wheels)
        progress.update("installing them")
        _copy_checkout(lab / CHECKOUT)
        _set_up(root, lab, wheels)
        (lab / CHECKOUT / VENV).rename(directory / VENV)
        for scratch in (wheels, lab):
            shutil.rmtree(scratch)


def _fetch(wheels: Path) -> None:
    """Fetched on this machine, with its settings of pip: the lab host has no network."""
    command = [sys.executable, "-m", "pip", "download", "-qq", f"--dest={wheels}", f"{REPOSITORY}[dev]"]
    proc.run([*command, *_build_requirements()], hint=PIP_HINT)


def _build_requirements() -> list[str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    return list(project["build-system"]["requires"])


def _copy_checkout(top: Path) -> None:
    top.mkdir(parents=True)
    for name in _NEEDED:
        source = REPOSITORY / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, top / name)


def _set_up(root: LabRoot, lab: Path, wheels: Path) -> None:
    """Have it made by scripts/setup in the host's root; --help does nothing else."""
    (lab / "wheels").mkdir()
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"/{LAB}/wheels"}
    command = [f"/{LAB}/{CHECKOUT}/scripts/run", "--help"]
    proc.run(inside(root.tree, command, {"": lab, "wheels": wheels}, offline), bare=True)
