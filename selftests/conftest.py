# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures that several files share, and a collection of tests that is not slowed down by Python's own."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from guestloop.ground import surroundings

if TYPE_CHECKING:
    from guestloop.cache import Cache


HERE = Path(__file__).parent
MEMORY = Path("/dev/shm")
ROOM = 1 << 30
"""In bytes. The tests have needed 120 MB at most."""
QUICK_S = 0.005  # what --durations leaves out as well
ALLOCATIONS = 100_000


def pytest_configure() -> None:
    """Before anything is collected, in each process of pytest-xdist."""
    forget_settings()
    make_files_in_memory()


def forget_settings() -> None:
    """Started by a hook of git, by make or from a shell with settings: the tests see none of it."""
    ours = ("PATH", "TMPDIR", "PYTHONPATH", "PYTHONUTF8", "PYTEST_", "COV")
    known = surroundings.inherited()
    for name in list(os.environ):
        if name not in known and not name.startswith(ours):
            del os.environ[name]


def make_files_in_memory() -> None:
    """Thousands of small files and directories cost a tenth of all CPU time on a disk's file system.

    A ``TMPDIR`` that was set stays. Containers often have little memory there, or forbid to execute from it.
    """
    if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK):
        found = os.statvfs(MEMORY)
        if found.f_bavail * found.f_frsize >= ROOM and not found.f_flag & os.ST_NOEXEC:
            os.environ["TMPDIR"] = os.fspath(MEMORY)
            tempfile.tempdir = None  # pytest has already asked for it


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Directories of which nothing is wanted are not imported: what drives a browser takes half a second."""
    name, expression = collection_path.name, config.getoption("markexpr")
    if collection_path.parent != HERE or " or " in expression:
        return None
    excluded = f"not {name}" in expression.split(" and ")
    return (excluded and name in ("browser", "guest")) or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests with a browser run when they are asked for: scripts/test has a stage for them."""
    if "browser" in config.getoption("markexpr"):
        return
    left_out = [item for item in items if item.get_closest_marker("browser")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_collection() -> None:
    """Thousands of tests and the syntax trees of their files: nothing of it is garbage before it is used."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What was collected stays until the end: it need not be looked at again."""
    gc.freeze()
    gc.set_threshold(ALLOCATIONS)
    gc.enable()


def pytest_sessionstart(session: pytest.Session) -> None:
    """A worker of pytest-xdist sends six messages for a test. They take longer than all else of pytest."""
    for plugin in session.config.pluginmanager.get_plugins():
        if hasattr(session.config, "workerinput") and hasattr(plugin, "sendevent"):
            plugin.sendevent = without_what_nobody_reads(plugin.sendevent)


def without_what_nobody_reads(send: Callable[..., None]) -> Callable[..., None]:
    """``send`` for the end of each test, and for setups and teardowns that were slow or failed."""

    def send_some(name: str, **content: Any) -> None:
        if name not in ("logstart", "logfinish") and not (name == "testreport" and is_dull(content["data"])):
            send(name, **content)

    return send_some


def is_dull(report: Mapping[str, Any]) -> bool:
    """Of a setup or teardown of which neither a summary nor a list of durations says anything."""
    quick: bool = report["duration"] < QUICK_S
    return quick and report["when"] != "call" and report["outcome"] == "passed"


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_disks() -> Iterator[None]:
    """No result of a test has to outlive a power failure; beside builds each write would wait for theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _handle: None)
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A cache for the tests of one file; what changes one defines its own."""
    from guestloop.cache import Cache  # not in every process that runs one test

    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, where this user may mount one."""
    where = tmp_path / "disk"
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(where)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user cannot mount a tmpfs")
    yield where
    subprocess.run(["umount", where], check=True)


@pytest.fixture(scope="session")
def program(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The payload of L2 as a program of this machine, compiled once until it or the compiler changes."""
    from guestloop.cache import Cache  # not in every process that runs one test
    from guestloop.images import l2
    from guestloop.images.compiler import compile_program, describe_program

    kept: pytest.Cache | None = getattr(pytestconfig, "cache", None)  # none with -p no:cacheprovider
    cache = Cache(kept.mkdir("programs") if kept else tmp_path_factory.mktemp("programs"))
    compiler = shutil.which("gcc")
    of_compiler = (compiler, Path(compiler).stat().st_mtime) if compiler else ()
    inputs = {**describe_program(l2.RECIPE), "compiler": of_compiler}
    return cache.obtain("payload", inputs, lambda into: compile_program(l2.RECIPE, into / "init")) / "init"
