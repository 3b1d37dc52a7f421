# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels at their edges: the last free byte, the newest file, a Debian package with more than a tarball."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from tiny import GOOD, base, cache, plain_compiler, read_once, spec

from guestloop.cache import Cache
from guestloop.config import BaseKind, BaseSpec, KernelSpec
from guestloop.ground.errors import CacheError, ConfigError, LabError
from guestloop.ground.log import Step, duration
from guestloop.kernels import build, build_kernel, elf
from guestloop.kernels.artifacts import DESCRIPTION
from guestloop.kernels.toolchain import Toolchain
from guestloop.kernels.tree import drop_suspects
from guestloop.sources import find_source
from guestloop.sources.bases import find_debian

__all__ = ["base", "cache", "plain_compiler", "read_once", "spec"]  # fixtures

GIB = 1 << 30


class Usage(NamedTuple):
    """As shutil.disk_usage returns it."""

    total: int
    used: int
    free: int


# --- space -----------------------------------------------------------------------------------------


def test_a_first_build_wants_three_gib_and_further_ones_do_not_ask(
    spec: KernelSpec, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 3 * GIB - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, free))
    with pytest.raises(CacheError, match="3071 MiB free, 3072 MiB needed"):
        build_kernel(spec, cache)
    assert not (cache.root / "work").exists() or not list((cache.root / "work").glob("*/source"))
    free = 3 * GIB
    build_kernel(spec, cache)
    free = 0
    patched = dataclasses.replace(spec, name="patched", series=(GOOD,))
    assert build_kernel(patched, cache).name == "patched"


def test_what_a_build_took_is_recorded(
    spec: KernelSpec, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU time is that of this build's commands, without those before."""
    spent = iter((2.0, 7.04))
    clock = iter((100.0, 103.54))
    monkeypatch.setattr(build, "_cpu_seconds", lambda: next(spent))
    monkeypatch.setattr(build, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    kernel = build_kernel(spec, cache)
    built = json.loads((kernel.directory / DESCRIPTION).read_text())["provenance"]["built"]
    assert built["cpu_seconds"] == 5.0
    assert built["seconds"] == 3.5


def test_how_long_a_build_may_take_is_said_before(
    spec: KernelSpec, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    build_kernel(spec, cache)
    first = duration(420 / len(os.sched_getaffinity(0)))
    assert f"build kernel tiny (tiny.tar) (expected {first})" in capsys.readouterr().err
    build_kernel(dataclasses.replace(spec, series=(GOOD,)), cache)
    assert "build kernel tiny (tiny.tar) (expected 15.0 s)" in capsys.readouterr().err


# --- the work area ---------------------------------------------------------------------------------


def test_a_file_as_old_as_a_command_may_take_is_still_suspect(tmp_path: Path) -> None:
    newest = 1_700_000_000.0
    for name, age_s in (("newest.o", 0.0), ("edge.o", 60.0), ("older.o", 60.5)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (newest - age_s, newest - age_s))
    (tmp_path / "link.o").symlink_to("newest.o")
    assert drop_suspects(tmp_path) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"older.o", "link.o"}


# --- Debian's source packages ----------------------------------------------------------------------

SUMS = """\
11111111111111111111111111111111  usr/share/doc/linux-source-9.9/linux-source-9.9.tar.txt
22222222222222222222222222222222  usr/src/linux-patch-9.9-rt.patch.xz
33333333333333333333333333333333  usr/src/deeper/linux-source-9.9.tar.xz
44444444444444444444444444444444  usr/src/linux-source-9.9.tar.xz
55555555555555555555555555555555  var/linux-source-9.9.tar.xz
"""


def debian(
    monkeypatch: pytest.MonkeyPatch, directory: Path, sums: str, state: str = "installed"
) -> KernelSpec:
    """A machine whose dpkg knows linux-source-9.9, in that state and with these files."""
    (directory / "sums").write_text(sums)
    program = directory / "dpkg-query"
    program.write_text(
        f"""#!/bin/sh
case "$1" in
--control-show) [ "$2 $3" = "linux-source-9.9 md5sums" ] && cat {directory}/sums ;;
-W) echo {state}; echo 9.9.7-1 ;;
esac
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=os.pathsep)
    base = BaseSpec(BaseKind.DEBIAN_SOURCE, "linux-source-9.9")
    return KernelSpec("debian", directory / "debian.yaml", "", base, (), ())


def test_the_tarball_of_a_debian_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = find_debian(debian(monkeypatch, tmp_path, SUMS).base.location, "x")
    assert found.path == Path("/usr/src/linux-source-9.9.tar.xz")
    assert found.description == "linux-source-9.9 9.9.7-1"
    assert found.identity == {"package": "linux-source-9.9", "version": "9.9.7-1", "md5": "4" * 32}


def test_a_debian_package_without_a_tarball(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rest = "".join(line for line in SUMS.splitlines(keepends=True) if not line.startswith("4"))
    with pytest.raises(LabError, match=r"linux-source-9\.9 9\.9\.7-1 has no usr/src/linux-source-9\.9\.tar"):
        find_debian(debian(monkeypatch, tmp_path, rest).base.location, "x")


def test_a_debian_package_that_was_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """dpkg goes on knowing packages whose configuration files are left."""
    with pytest.raises(LabError, match="is not installed") as caught:
        find_debian(debian(monkeypatch, tmp_path, SUMS, state="config-files").base.location, "x")
    assert caught.value.hint == "apt-get install linux-source-9.9"


def test_an_installed_package_whose_tarball_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Cache
) -> None:
    base = debian(monkeypatch, tmp_path, SUMS).base
    with pytest.raises(LabError, match=r"no such kernel source: /usr/src/linux-source-9\.9\.tar\.xz"):
        find_source(base, "x", cache)


# --- what a build leaves ---------------------------------------------------------------------------


def test_a_file_without_a_build_id_is_named(tmp_path: Path) -> None:
    file = tmp_path / "plain.o"
    subprocess.run(["gcc", "-c", "-x", "c", "-o", file, "-"], input=b"int x;", check=True)
    with pytest.raises(ConfigError, match=r"plain\.o: no GNU build-id"):
        elf.build_id(file)


# --- the build's progress and tools ----------------------------------------------------------------


class Shown(Step):
    """A step that keeps what it was told."""

    def __init__(self) -> None:
        super().__init__("build", None)
        self.updates: list[tuple[str, float]] = []

    def update(self, status: str, fraction: float = 0.0) -> None:
        self.updates.append((status, fraction))


def test_progress_is_a_share_where_the_number_of_files_is_known() -> None:
    shown = Shown()
    progress = build.Progress(shown, 2)
    for line in ("  CC      mm/a.o", "make[1]: nothing", "  CC [M]  arch/x86/kvm/mmu.o", "  LD      vmlinux"):
        progress.line(line)
    assert shown.updates == [
        ("1 of about 2 files, mm/a.o", 0.5),
        ("2 of about 2 files, arch/x86/kvm/mmu.o", 0.99),
        ("3 of about 2 files, vmlinux", 0.99),
    ]


def test_progress_without_a_known_number_is_a_count() -> None:
    shown = Shown()
    build.Progress(shown, 0).line("  AR      lib.a")
    assert shown.updates == [("1 files, lib.a", 0.0)]


def test_ccache_speeds_a_build_up_and_changes_nothing_of_it(cache: Cache) -> None:
    plain, cached = Toolchain("gcc 12", "ld 2", ccache=False), Toolchain("gcc 12", "ld 2", ccache=True)
    assert plain.identity == cached.identity == {"compiler": "gcc 12", "linker": "ld 2"}
    assert plain.make_variables == ()
    assert cached.make_variables == ("CC=ccache gcc", "HOSTCC=ccache gcc")
    added = dict(cached.environment(cache).items() - plain.environment(cache).items())
    assert added == {
        "CCACHE_DIR": f"{cache.root}/ccache",
        "CCACHE_CONFIGPATH": "/dev/null",
        "CCACHE_BASEDIR": str(cache.root),
        "CCACHE_NOHASHDIR": "1",
        "CCACHE_MAXSIZE": "2G",
    }
    assert plain.environment(cache)["KBUILD_BUILD_TIMESTAMP"].endswith("1970 00:00:00 +0000")


def test_a_cache_from_which_nothing_can_be_run(
    spec: KernelSpec, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = SimpleNamespace(f_flag=os.ST_NOEXEC, f_frsize=4096, f_blocks=GIB, f_bfree=GIB, f_bavail=GIB)
    monkeypatch.setattr(os, "statvfs", lambda _path: seen)
    with pytest.raises(CacheError, match="is on a file system that is mounted noexec") as raised:
        build_kernel(spec, cache)
    assert "GUESTLOOP_CACHE" in raised.value.hint
