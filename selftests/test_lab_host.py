# SPDX-License-Identifier: GPL-2.0-or-later
"""The simulated lab host without booting it: recipe, disk, command line, and what is concluded from a run."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
from samples import CANDIDATE, REFERENCE, SHADOW, TDP, Steady, compare, make_round, plan_of

from guestloop.cache import Cache
from guestloop.config import load_profiles
from guestloop.debian.sources import Release, Source
from guestloop.images.keys import obtain_keys
from guestloop.kernels import Kernel
from guestloop.report.reading import parse_result
from guestloop.report.results import Result
from guestloop.report.verdict_json import describe
from guestloop.results.load import Load
from guestloop.results.records import Correctness, Outcome, Round
from guestloop.workloads.catalog import AXES
from guestloop.workloads.selection import select
from labhost import stage as staging
from labhost.argv import HostSpec, host_argv
from labhost.checks import problems
from labhost.inside import inside
from labhost.prime import NotingCache
from labhost.root import RECIPE, describe_root, read_packages
from labhost.stage import lab_disk
from labhost.table import render_table
from labhost.trials import STAYS, Size, profiles

# --- the recipe ------------------------------------------------------------------------------------


def test_scripts_setup_finds_nothing_to_install() -> None:
    found = read_packages(RECIPE)
    assert {"qemu-system-x86", "gcc", "bubblewrap", "openssh-server"} <= set(found)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", name) for name in found)


@pytest.mark.parametrize("name", ["init", "packages", "exclude"])
def test_each_part_of_the_recipe_is_in_the_key_of_the_root(tmp_path: Path, cache: Cache, name: str) -> None:
    release, keys = (
        Release("bookworm", (Source(("http://one.example/debian",), ("bookworm",), ("main",)),)),
        obtain_keys(cache),
    )
    for part in ("init", "packages", "exclude"):
        (tmp_path / part).write_text("one\n")
    before = describe_root(tmp_path, release, keys)
    (tmp_path / name).write_text("another\n")
    assert describe_root(tmp_path, release, keys) != before


def test_the_init_is_a_shell_script_without_mistakes() -> None:
    assert subprocess.run(["sh", "-n", RECIPE / "init"], check=False).returncode == 0


def test_the_cells_are_of_each_workload(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "guestloop").mkdir()
    (tmp_path / "guestloop/profiles.yaml").symlink_to(RECIPE / "profiles.yaml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    known = load_profiles(AXES)

    def cells(size: Size) -> list[tuple[str, str]]:
        chosen = [select(known[name]).cells for name in profiles(STAYS[size])]
        return sorted((cell.test, cell.mmu.value) for found in chosen for cell in found)

    assert [test for test, _ in cells(Size.SHORT)] == ["aging", "asyncpf", "migration"]
    modes = ("direct", "shadow", "tdp")
    assert cells(Size.FULL) == [(test, mmu) for test in ("aging", "asyncpf", "migration") for mmu in modes]


# --- the host --------------------------------------------------------------------------------------


def test_the_root_is_shared_and_the_other_disk_has_no_name() -> None:
    argv = host_argv(
        HostSpec(
            program=Path("/cache/qemu-system-x86_64"),
            cpu_argv=("-accel", "tcg", "-cpu", "max,+svm"),
            kernel_words=("tsc_early_khz=2445430",),
            kernel=Path("/cache/bzImage"),
            initramfs=Path("/cache/initramfs.cpio"),
            root=Path("/cache/root.ext4"),
            console=Path("/out/console.log"),
            qmp_fd=5,
            lab_fd=6,
            memory_mib=4096,
            cpus=2,
        )
    )
    options = [*pairwise(argv)]
    disks = {value.split(",")[1]: value for option, value in options if option == "-blockdev"}
    assert "read-only=on" in disks["node-name=root"]
    assert "filename=/dev/fdset/1" in disks["node-name=lab"] and "read-only" not in disks["node-name=lab"]
    assert ("-add-fd", "fd=6,set=1") in options
    assert ("-device", "virtio-blk-pci,id=lab,drive=lab,serial=lab") in options
    assert ("-initrd", "/cache/initramfs.cpio") in options
    (told,) = [value for option, value in options if option == "-append"]
    assert told.endswith(" tsc_early_khz=2445430") and "root=/dev/vda ro" in told


def test_programs_in_the_root_see_what_is_bound_and_no_network(tmp_path: Path) -> None:
    command = inside(tmp_path, ["true"], {"cache": Path("/c"), "": Path("/s")}, {"A": "b"})
    words = " ".join(map(str, command))
    assert f"--ro-bind {tmp_path} /" in words and "--unshare-net" in words and "--die-with-parent" in words
    assert "--bind /s /lab --bind /c /lab/cache --setenv A b" in words, "outer mounts come first"


# --- its second disk -------------------------------------------------------------------------------


def test_what_is_used_of_the_cache_is_noted_once(tmp_path: Path) -> None:
    Cache(tmp_path).obtain("kernel", {"a": 1}, lambda into: None)
    cache = NotingCache(tmp_path)
    assert cache.find("kernel", {"a": 2}) is None
    assert cache.find("kernel", {"a": 1}) and cache.obtain("kernel", {"a": 1}, lambda into: None)
    made = cache.obtain("payload", {}, lambda into: None)
    assert cache.used == [cache.path("kernel", {"a": 1}).relative_to(tmp_path), made.relative_to(tmp_path)]


def test_an_entry_comes_without_what_only_builds_read(tmp_path: Path) -> None:
    entry = tmp_path / "cache/tree/0123"
    (entry / "objects/pack").mkdir(parents=True)
    (entry / "inputs.json").write_text("{}")
    (entry / "tree").write_text("abcd")
    staging._link_entry(tmp_path / "cache", Path("tree/0123"), tmp_path / "into")
    there = sorted(path.name for path in (tmp_path / "into/tree/0123").iterdir())
    assert there == ["inputs.json", "tree"]


@dataclass(frozen=True)
class HostKernel:
    """What a disk takes of a kernel."""

    modules: Mapping[str, Path]


def test_the_disk_has_the_modules_of_the_host_in_load_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "SPARE_MIB", 8)
    names = ("irqbypass", "kvm", "kvm-intel", "kvm-amd")
    for name in names:
        (tmp_path / f"{name}.ko").write_text(name)
    (tmp_path / "stage/results").mkdir(parents=True)
    kernel = HostKernel({name: tmp_path / f"{name}.ko" for name in names})
    with lab_disk(tmp_path / "stage", cast(Kernel, kernel)) as disk:
        (tmp_path / "disk").write_bytes(disk.read())
    found = subprocess.run(
        ["debugfs", "-R", "cat modules/order", tmp_path / "disk"], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["irqbypass.ko", "kvm.ko", "kvm-amd.ko"]
    assert sorted(path.name for path in (tmp_path / "stage").iterdir()) == ["results"], (
        "ready for another host"
    )


# --- what came of it -------------------------------------------------------------------------------

PLAN = replace(plan_of(REFERENCE, CANDIDATE, cells=(SHADOW, TDP), rounds=1), accelerator="kvm")
GOOD = [
    make_round(SHADOW, "unpatched", 1, 450),
    make_round(SHADOW, "patched", 1, 5),
    make_round(TDP, "unpatched", 1, 0),
    make_round(TDP, "patched", 1, 0),
]


def result_of(*rounds: Round, accelerator: str = "kvm") -> Result:
    plan = replace(PLAN, accelerator=accelerator, host={"kernel": "6.1.0-56-cloud-amd64"})
    return parse_result(describe(plan, compare(plan, rounds or GOOD)))


def test_a_good_run_is_as_it_should_be() -> None:
    assert problems(0, result_of()) == []


def test_each_thing_that_is_wrong_is_told() -> None:
    broken = replace(GOOD[2], outcome=Outcome.INVALID, correctness=Correctness.NOT_RUN, reason="no events")
    blind = make_round(SHADOW, "patched", 1, 452)
    found = problems(4, result_of(GOOD[0], blind, broken, GOOD[3], accelerator="tcg"))
    assert found[:2] == ["exit status 4", "accelerator tcg"]
    assert found[2].startswith("asyncpf/shadow/read-shared: same, and not fewer flushes on async_page_ready")
    assert found[3] == "asyncpf/tdp/read-shared unpatched round 1: invalid, contents not-run: no events"
    assert len(found) == 4


def test_a_run_that_left_no_verdict_is_wrong() -> None:
    assert problems(3, None) == ["exit status 3", "no verdict.json"]
    assert problems(0, replace(result_of(), cells=())) == ["no cell"]


def rows_of(lines: list[str], name: str) -> list[str]:
    return [" ".join(line.split()[1:]) for line in lines if line.split()[0] == name]


def test_counts_stand_beside_those_of_the_emulator() -> None:
    emulated = result_of(make_round(SHADOW, "unpatched", 1, 420), make_round(SHADOW, "patched", 1, 90))
    lines = render_table([emulated], [result_of(*GOOD[:2])], Steady())
    assert lines[2:4] == [
        "profile default, on a lab host with kernel 6.1.0-56-cloud-amd64:",
        "asyncpf/shadow/read-shared, unpatched",
    ]
    assert rows_of(lines, "async_page_ready") == [
        "420 0.420 450 0.450 x1.07 per page-ready event",
        "90 0.09 5 0.005 x0.06 per page-ready event, fewer",
    ]
    assert max(map(len, lines)) <= 110


BUSY, IDLE = Load(10.0, 12.0, 10.0, 0.0, 0.5, 0.0), Load(10.0, 1.0, 10.0, 0.0, 0.5, 0.0)


def test_rounds_under_unlike_load_are_shown_all_the_same() -> None:
    """Two kernels are not compared then, and one kernel on two machines is not compared for a verdict."""
    busy = [replace(item, load=load) for item, load in zip(GOOD[:2], (BUSY, IDLE), strict=True)]
    lines = render_table([result_of(*busy)], [result_of(*GOOD[:2])], Steady())
    assert len(rows_of(lines, "async_page_ready")) == 2


def test_what_only_one_of_them_has_measured_is_told() -> None:
    skipped = replace(GOOD[1], outcome=Outcome.SKIPPED, correctness=Correctness.NOT_RUN, reason="no swap")
    emulated = result_of(GOOD[0], skipped)
    lines = render_table([replace(emulated, cells=emulated.cells[:1])], [result_of()], Steady())
    missing = [line.removesuffix(": not measured on both") for line in lines if line.endswith("both")]
    tdp = [f"asyncpf/tdp/read-shared, {kernel}" for kernel in ("unpatched", "patched")]
    assert missing == ["asyncpf/shadow/read-shared, patched", *tdp]
