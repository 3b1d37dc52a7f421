# SPDX-License-Identifier: GPL-2.0-or-later
"""Building: series put back after a kill, keys, caching, and errors, with a stand-in for a kernel tree."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from tiny import (
    BAD,
    BROKEN,
    DATA,
    GOOD,
    KVM,
    base,
    cache,
    empty_cache,
    pack,
    plain_compiler,
    read_once,
    spec,
    with_series,
)

from guestloop.cache import Cache, content_key, digests
from guestloop.config import BaseKind, BaseSpec, KernelSpec
from guestloop.ground import proc
from guestloop.ground.errors import CacheError, ConfigError, LabError, NotBuilt, ProcessError
from guestloop.kernels import build, build_kernel
from guestloop.kernels.tree import MAKING, WorkTree, drop_suspects, making
from guestloop.sources import Tree
from guestloop.sources.bases import find_tarball

__all__ = ["base", "cache", "empty_cache", "plain_compiler", "read_once", "spec"]  # fixtures

MMU = "arch/x86/kvm/mmu.c"


@pytest.fixture
def tree(tmp_path: Path) -> WorkTree:
    return WorkTree(tmp_path / "work")


# --- the object tree -------------------------------------------------------------------------------


def test_what_a_killed_build_wrote_last_is_dropped(tree: WorkTree) -> None:
    objects = tree.objects("k")
    for name, age_s in (("old.o", 300), ("half.o", 1), ("half.cmd", 0)):
        (objects / name).write_text("x")
        then = time.time() - 1000 - age_s
        os.utime(objects / name, (then, then))
    with pytest.raises(KeyboardInterrupt), making(objects):
        raise KeyboardInterrupt
    assert [path.name for path in tree.objects("k").iterdir()] == ["old.o"]


def test_a_finished_build_drops_nothing(tree: WorkTree) -> None:
    objects = tree.objects("k")
    with making(objects):
        (objects / "new.o").write_text("x")
    assert not (objects / MAKING).exists()
    assert (tree.objects("k") / "new.o").exists()
    assert drop_suspects(tree.objects("empty")) == 0


def test_an_object_without_its_source_is_dropped(tree: WorkTree) -> None:
    """make would link it as it is: it has no rule for it, and there it is."""
    objects = tree.objects("k")
    (tree.source / "mm").mkdir(parents=True)
    (tree.source / "mm/here.c").touch()
    named = {
        "mm/here.o": "../source/mm/here.c",
        "mm/gone.o": "../source/mm/gone.c",
        "scripts/gone": f"{tree.source}/scripts/gone.c",
        "mm/made.o": "mm/made.c",
        "tools/objtool/check.o": "check.c",  # as tools are built: relative to their own source
        "mm/all.o": "",
    }
    for name, source in named.items():
        made = objects / name
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text("x")
        line = f"source_{name} := {source}\n" if source else ""
        made.with_name(f".{made.name}.cmd").write_text(f"savedcmd_{name} := gcc\n\n{line}deps_{name} := \\\n")
    left = {str(path.relative_to(tree.objects("k"))) for path in objects.rglob("*") if path.is_file()}
    there = [name for name in named if "gone" not in name]
    assert left == {*there, *(f"{name[: name.rindex('/')]}/.{name.rpartition('/')[2]}.cmd" for name in there)}


# --- keys ------------------------------------------------------------------------------------------


def test_the_key_depends_on_content_and_not_on_names(spec: KernelSpec, cache: Cache, tmp_path: Path) -> None:
    def key(of: KernelSpec) -> str:
        return content_key(build.find_inputs(of, cache).described)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    copies = [Path(shutil.copy(path, elsewhere / f"copy-{path.name}")) for path in (*spec.config, GOOD)]
    moved = dataclasses.replace(spec, name="other", config=(copies[0],))
    assert key(moved) == key(spec)
    assert key(with_series(moved, copies[1])) == key(with_series(spec, GOOD)) != key(spec)

    copies[1].write_text(f"From: x\n\n{GOOD.read_text()}\n-- \n")
    assert key(with_series(spec, copies[1])) == key(with_series(spec, GOOD)), "the same change"
    copies[0].write_text(KVM + "# only a comment\n")
    assert key(moved) == key(spec)
    copies[0].write_text(KVM + "CONFIG_KSM=y\n")
    assert key(moved) != key(spec)


def test_the_key_depends_on_the_base_and_the_compiler(
    spec: KernelSpec, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = build.find_inputs(spec, cache)
    other_tree = dataclasses.replace(inputs.applied, tree=Tree("0" * 40, ()))
    other_compiler = dataclasses.replace(inputs.toolchain, compiler="gcc 99")
    keys = {
        content_key(changed.described)
        for changed in (
            inputs,
            dataclasses.replace(inputs, applied=other_tree),
            dataclasses.replace(inputs, toolchain=other_compiler),
        )
    }
    assert len(keys) == 3
    with_ccache = dataclasses.replace(inputs.toolchain, ccache=True)
    assert content_key(dataclasses.replace(inputs, toolchain=with_ccache).described) in keys


def test_a_tarball_is_read_once(
    spec: KernelSpec, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tarball = Path(shutil.copy(spec.base.location, tmp_path))
    spec = dataclasses.replace(spec, base=BaseSpec(BaseKind.TARBALL, str(tarball)))
    first = build.find_inputs(spec, cache)
    monkeypatch.setattr(digests, "file_digest", lambda path: pytest.fail(f"read again: {path}"))
    assert build.find_inputs(spec, cache) == first
    monkeypatch.undo()
    tarball.write_bytes(b"changed")
    assert find_tarball(tarball, "x", cache).identity != first.source.identity


# --- the whole way ---------------------------------------------------------------------------------


def test_build_then_cached_without_the_source(spec: KernelSpec, cache: Cache) -> None:
    kernel = build_kernel(spec, cache)
    assert kernel.release == "6.12.0-tiny"
    assert list(kernel.modules) == ["kvm", "kvm-amd", "kvm-intel"]
    beside = [kernel.directory / name for name in ("config", "System.map")]
    assert (kernel.image.name, kernel.initramfs) == ("vmlinux", None)
    assert all(path.is_file() for path in (kernel.image, *beside, *kernel.modules.values()))
    assert set(kernel.build_ids) == {"vmlinux", *kernel.modules}
    assert kernel.tlb_flush_request == 0x300
    assert kernel.flush_callers == {
        "kvm_flush_remote_tlbs": (),
        "kvm_make_all_cpus_request": ("kvm_flush_remote_tlbs",),
    }

    patched = build_kernel(with_series(spec, GOOD), cache)
    assert patched.series == (GOOD.name,)
    changed = {name for name in kernel.build_ids if kernel.build_ids[name] != patched.build_ids[name]}
    assert changed == set(kernel.modules)

    shutil.rmtree(cache.root / "work")
    assert build_kernel(spec, cache) == kernel
    same = build_kernel(dataclasses.replace(spec, name="A"), cache)
    assert (same.name, same.directory) == ("A", kernel.directory)


def test_base_after_patched_is_the_base(spec: KernelSpec, cache: Cache, tmp_path: Path) -> None:
    patched = build_kernel(with_series(spec, GOOD), cache)
    after = build_kernel(spec, cache)
    alone = build_kernel(spec, Cache(tmp_path / "other"))
    assert after.build_ids == alone.build_ids != patched.build_ids
    assert after.sha256 == alone.sha256 != patched.sha256


def test_two_ways_to_a_tree_are_one_kernel(spec: KernelSpec, cache: Cache, tmp_path: Path) -> None:
    """Each is called as it was named, whoever built it."""
    first = build_kernel(with_series(spec, GOOD), cache)
    other = pack(DATA / "tiny", tmp_path / "other.tar", "./")
    mail = tmp_path / "mail.eml"
    mail.write_text(GOOD.read_text().replace("@@ -3,7 +3,7 @@", "@@ -4,7 +4,7 @@"))
    second = build_kernel(dataclasses.replace(spec, name="second", base=other, series=(mail,)), cache)
    assert (second.directory, second.tree, second.sha256) == (first.directory, first.tree, first.sha256)
    assert (first.base, first.series) == ("tiny.tar", (GOOD.name,))
    assert (second.name, second.base, second.series) == ("second", "other.tar", ("mail.eml",))


def test_what_was_built_is_recorded(spec: KernelSpec, cache: Cache, tmp_path: Path) -> None:
    off = tmp_path / "off.patch"
    off.write_text(GOOD.read_text().replace("@@ -3,7 +3,7 @@", "@@ -4,7 +4,7 @@"))
    kernel = build_kernel(with_series(spec, off), cache)
    recorded = json.loads((kernel.directory / "kernel.json").read_text())
    assert recorded["tree"] == kernel.tree
    assert len(kernel.tree) == 40
    (patch,) = recorded["provenance"]["series"]
    assert (patch["name"], patch["subject"]) == ("off.patch", "[PATCH] tiny: no flush for accessed")
    assert patch["offsets"] == [{"file": MMU, "hunk": 1, "wanted": 4, "found": 3, "places": 1}]
    assert set(recorded["provenance"]["source"]) == {"sha256", "tree"}


@pytest.mark.parametrize("name", ["a b", "a:b", "100%", "$HOME", "it's", "a#b"])
def test_a_cache_that_make_cannot_build_in_is_refused_at_once(
    spec: KernelSpec, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConfigError, match="make cannot build a kernel in a path with ") as caught:
        build_kernel(spec, Cache(tmp_path / name))
    assert "GUESTLOOP_CACHE" in caught.value.hint
    assert not (tmp_path / name).exists()


def test_a_cache_may_have_any_other_name(spec: KernelSpec, tmp_path: Path) -> None:
    assert build_kernel(spec, Cache(tmp_path / "Grüße,v1.0@x+y=z~")).release == "6.12.0-tiny"


def test_a_configuration_for_nothing_is_told_before_the_base_is_read(
    spec: KernelSpec, empty_cache: Cache
) -> None:
    spec.config[0].write_text("CONFIG_KSM=y\n")
    with pytest.raises(ConfigError, match="not for a kernel of L1: CONFIG_KVM"):
        build_kernel(spec, empty_cache)
    assert not (empty_cache.root / "tree").exists()


def test_a_series_that_does_not_apply_leaves_no_entry(spec: KernelSpec, cache: Cache) -> None:
    build_kernel(spec, cache)
    with pytest.raises(ConfigError, match="hunk 1"):
        build_kernel(with_series(spec, BAD), cache)
    assert len(list((cache.root / "kernel").iterdir())) == 1
    assert build_kernel(with_series(spec, GOOD), cache).series == (GOOD.name,)


def test_a_series_that_does_not_compile_shows_the_error(spec: KernelSpec, cache: Cache) -> None:
    base = build_kernel(spec, cache)
    with pytest.raises(NotBuilt) as caught:
        build_kernel(with_series(spec, BROKEN), cache)
    first, *further = str(caught.value).splitlines()
    assert first.startswith("patched: does not build: arch/x86/kvm/mmu.c:6:")
    assert "error: 'nonsense' undeclared" in first
    assert any(line.endswith("flush = nonsense;") for line in further)
    log = Path(caught.value.hint.rpartition(" ")[2])
    assert log.parent == cache.root / "failed-builds" and first.partition(": error")[2] in log.read_text()
    assert len(list((cache.root / "kernel").iterdir())) == 1
    assert build_kernel(with_series(spec, GOOD), cache).build_ids["kvm"] != base.build_ids["kvm"]


def test_a_compiler_that_is_killed_says_nothing_about_the_series(
    spec: KernelSpec, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: build.Make, *_targets: str, **_options: object) -> None:
        self.log.write_text(
            "gcc: fatal error: Killed signal terminated program cc1\ncompilation terminated.\n"
        )
        raise self._explain(ProcessError(["make"], 2, "a tail"))

    monkeypatch.setattr(build.Make, "_run", killed)
    with pytest.raises(ProcessError, match="fatal error: Killed signal"):
        build_kernel(with_series(spec, GOOD), cache)


def test_an_option_that_the_series_removes_is_no_fault_of_the_compiler(
    spec: KernelSpec, cache: Cache, tmp_path: Path
) -> None:
    """Nor of the kernel: the configuration asks for what is gone."""
    patch = tmp_path / "remove.patch"
    patch.write_text(
        "diff --git a/Kconfig b/Kconfig\n--- a/Kconfig\n+++ b/Kconfig\n@@ -1 +1 @@\n"
        "-config IMPOSSIBLE\n+# nothing\n"
    )
    spec.config[0].write_text(KVM + "CONFIG_IMPOSSIBLE=y\n")
    shutil.copytree(DATA / "tiny", tmp_path / "tiny")
    (tmp_path / "tiny/Kconfig").write_text("config IMPOSSIBLE\n")
    spec = dataclasses.replace(spec, base=pack(tmp_path / "tiny", tmp_path / "with-option.tar"))
    with pytest.raises(ConfigError, match=r"^patched: the series removes CONFIG_IMPOSSIBLE, and") as caught:
        build_kernel(with_series(spec, patch), cache)
    assert "tiny.config" in str(caught.value) and "CONFIG_IMPOSSIBLE=... where it exists" in caught.value.hint


def test_an_option_that_cannot_be_set_is_named(spec: KernelSpec, cache: Cache) -> None:
    spec.config[0].write_text(KVM + "CONFIG_IMPOSSIBLE=y\n")
    with pytest.raises(ConfigError, match=r"tiny\.config: 1 option could .*IMPOSSIBLE: wanted y, seen n"):
        build_kernel(spec, cache)


def test_two_at_once_share_one_build(
    spec: KernelSpec, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[object] = []
    threads = [threading.Thread(target=lambda: made.append(build_kernel(spec, cache))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 2
    assert made[0] == made[1]
    assert capsys.readouterr().err.count("==> build kernel") == 1


@pytest.mark.parametrize("moment", ["fast-import", "read-tree", "apply", "write-tree", "clean"])
def test_a_full_disk_in_git_is_said_once(
    spec: KernelSpec, empty_cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    git = tmp_path / "bin/git"
    git.parent.mkdir()
    full = f"echo 'fatal: cannot write: {os.strerror(errno.ENOSPC)}' >&2; exit 128"
    git.write_text(
        f'#!/bin/sh\ncase " $* " in *" {moment} "*) {full} ;; esac\nexec {shutil.which("git")} "$@"\n'
    )
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(git.parent), prepend=os.pathsep)
    with pytest.raises(CacheError, match="no space left in the cache"):
        build_kernel(with_series(spec, GOOD), empty_cache)
    assert not list((empty_cache.root / "kernel").glob("*"))
    git.unlink()
    assert build_kernel(with_series(spec, GOOD), empty_cache).series == (GOOD.name,)


@pytest.mark.parametrize("moment", ["vmlinux", "--strip-all"])
def test_a_full_disk_at_any_moment_is_said_once(
    spec: KernelSpec, cache: Cache, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    run = proc.run

    def full(argv, **options):  # type: ignore[no-untyped-def]
        if moment in argv:
            output = f"cannot write: {os.strerror(errno.ENOSPC)}"
            if options.get("check", True):
                raise ProcessError(argv, 2, output)
            return proc.Finished(argv, 2, output)
        return run(argv, **options)

    monkeypatch.setattr(proc, "run", full)
    with pytest.raises(CacheError, match="no space left in the cache"):
        build_kernel(with_series(spec, GOOD), cache)
    assert list((cache.root / "kernel").iterdir()) == []
    monkeypatch.setattr(proc, "run", run)
    assert build_kernel(with_series(spec, GOOD), cache).series == (GOOD.name,)


def test_too_small_a_disk_is_said_at_once(
    spec: KernelSpec, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(CacheError, match="no space for a kernel build"):
        build_kernel(spec, cache)


# --- bases -----------------------------------------------------------------------------------------


def test_a_git_tree_and_ref(spec: KernelSpec, cache: Cache, tmp_path: Path) -> None:
    repository = tmp_path / "repo"
    shutil.copytree(DATA / "tiny", repository)
    git = ["git", "-C", str(repository), "-c", "user.name=x", "-c", "user.email=x@localhost"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "tiny"]):
        subprocess.run([*git, *command], check=True)
    base = BaseSpec(BaseKind.GIT, str(repository), "main")
    from_git = build_kernel(dataclasses.replace(spec, base=base), cache)
    assert from_git.base.startswith("git repo main (")
    assert from_git.build_ids == build_kernel(spec, cache).build_ids
    with pytest.raises(ConfigError, match="no-such"):
        build_kernel(dataclasses.replace(spec, base=dataclasses.replace(base, ref="no-such")), cache)


def test_a_base_that_is_not_there_is_named(spec: KernelSpec, cache: Cache) -> None:
    with pytest.raises(ConfigError, match="no such tarball: /nowhere"):
        build_kernel(dataclasses.replace(spec, base=BaseSpec(BaseKind.TARBALL, "/nowhere.tar")), cache)
    if shutil.which("dpkg-query"):
        base = BaseSpec(BaseKind.DEBIAN_SOURCE, "linux-source-0.01")
        with pytest.raises(LabError, match=r"linux-source-0\.01 is not installed"):
            build_kernel(dataclasses.replace(spec, base=base), cache)


def test_a_tarball_without_a_kernel_is_refused(spec: KernelSpec, cache: Cache, tmp_path: Path) -> None:
    other = pack(GOOD, tmp_path / "other.tar", "top/file")
    with pytest.raises(ConfigError, match="is not a kernel source: it has no top-level Kconfig"):
        build_kernel(dataclasses.replace(spec, base=other), cache)
