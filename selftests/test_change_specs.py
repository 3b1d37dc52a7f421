# SPDX-License-Identifier: GPL-2.0-or-later
"""From a change on the command line to two kernels: bases, series, configurations, names."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from test_revisions import Tree

from guestloop.cache import Cache
from guestloop.config import BaseKind, Change, KernelSpec, load_kernel
from guestloop.ground.errors import ConfigError, LabError
from guestloop.job.change import WHOLE_CONFIG, change_specs
from guestloop.results.plan import Reach

PATCH = """\
From 1111111111111111111111111111111111111111 Mon Sep 17 00:00:00 2001
From: A <a@example.org>
Date: Thu, 1 Jan 1970 00:00:00 +0000
Subject: [PATCH] mm: change one

---
 one | 2 +-
 1 file changed, 1 insertion(+), 1 deletion(-)

diff --git a/one b/one
--- a/one
+++ b/one
@@ -1 +1 @@
-one
+uno
-- 
2.39.5

"""  # noqa: W291 - as git writes it


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return Tree(tmp_path_factory.mktemp("change") / "linux")


@pytest.fixture
def patch(tmp_path: Path) -> Path:
    path = tmp_path / "0001-mm: change one.patch"
    path.write_text(PATCH)
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def names(*specs: KernelSpec) -> list[str]:
    return [spec.name for spec in specs]


def test_patches_on_a_kernel(patch: Path, cache: Cache) -> None:
    base = load_kernel("unpatched")
    reference, candidate = change_specs(Change(patches=(patch,), threeway=True, written="x"), cache)
    assert reference == base
    changed = {"name": "0001-mm-change-one", "series": (patch,), "threeway": True, "written": "x"}
    assert candidate == replace(base, **changed, description=candidate.description)  # type: ignore[arg-type]


def test_patches_on_a_kernel_with_a_series(patch: Path, cache: Cache) -> None:
    base = load_kernel("patched")
    reference, candidate = change_specs(Change(patches=(patch,), base="patched"), cache)
    assert (reference, candidate.series) == (base, (*base.series, patch))
    assert base.reach != candidate.reach == Reach(), "what the patches reach is not known"


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("series.mbox", "series"),
        ("v2-fix.patch.gz", "v2-fix"),
        ("überholt fix.patch", "berholt-fix"),
        ("patch", "patch"),
        (".patch", "candidate"),
        ("x" * 200 + ".patch", "x" * 64),
    ],
)
def test_a_candidate_is_called_after_its_file(name: str, called: str, patch: Path, cache: Cache) -> None:
    renamed = patch.rename(patch.with_name(name)) if not name.endswith(".gz") else patch.with_name(name)
    if name.endswith(".gz"):
        import gzip

        renamed.write_bytes(gzip.compress(PATCH.encode()))
    assert names(*change_specs(Change(patches=(renamed,)), cache)) == ["unpatched", called]


def test_a_candidate_is_called_after_its_folder(patch: Path, cache: Cache) -> None:
    folder = patch.parent / "my.series"
    folder.mkdir()
    patch.rename(folder / patch.name)
    assert names(*change_specs(Change(patches=(folder,)), cache)) == ["unpatched", "my.series"]


def test_a_bad_patch_is_refused_before_anything_else_is_done(patch: Path, cache: Cache) -> None:
    patch.write_text("nothing of a diff\n")
    with pytest.raises(ConfigError, match="0001-mm"):
        change_specs(Change(patches=(patch,)), cache)
    assert not cache.root.exists()


@pytest.mark.parametrize(
    ("base", "message"),
    [("deb:6.12", "--base deb:6.12: a kernel that exists already"), ("pached", "unknown kernel 'pached'")],
)
def test_bases_that_no_patch_can_be_applied_to(base: str, message: str, patch: Path, cache: Cache) -> None:
    with pytest.raises(ConfigError, match=message):
        change_specs(Change(patches=(patch,), base=base), cache)


# --- in git ----------------------------------------------------------------------------------------


def refs(*specs: KernelSpec) -> list[str]:
    return [spec.base.ref for spec in specs]


def test_a_range(tree: Tree, cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    pair = change_specs(Change(tree=tree.path, revisions=("main~2..topic",)), cache)
    assert names(*pair) == ["main~2", "topic"] and refs(*pair) == ["main~2", "topic"]
    for spec in pair:
        assert (spec.base.kind, spec.base.location) == (BaseKind.GIT, str(tree.path))
        assert (spec.config, spec.series) == (load_kernel("unpatched").config, ())
    assert "2 commits of main~2..topic" in capsys.readouterr().err


def test_the_work_tree(tree: Tree, cache: Cache) -> None:
    reference, candidate = change_specs(Change(tree=tree.path, dirty=True), cache)
    assert (reference.base.ref, reference.base.dirty, reference.name) == ("HEAD", False, "HEAD")
    assert (candidate.base.ref, candidate.base.dirty, candidate.name) == ("", True, "linux-dirty")
    reference, _ = change_specs(Change(tree=tree.path, dirty=True, revisions=("main~1",)), cache)
    assert reference.base.ref == "main~1"
    assert {spec.base_named for spec in (reference, candidate)} == {"--git"}, "no file names it"


def test_a_bare_repository_has_no_work_tree(tree: Tree, cache: Cache, tmp_path: Path) -> None:
    tree.git("clone", "-q", "--bare", tree.path, tmp_path / "bare.git")
    with pytest.raises(
        ConfigError, match=r"--dirty: .*bare\.git is a bare repository, which has no work tree"
    ):
        change_specs(Change(tree=tmp_path / "bare.git", dirty=True), cache)
    pair = change_specs(Change(tree=tmp_path / "bare.git", revisions=("topic",)), cache)
    assert names(*pair) == ["topic.parent", "topic"]


def test_patches_on_a_revision(tree: Tree, patch: Path, cache: Cache) -> None:
    change = Change(tree=tree.path, patches=(patch,))
    reference, candidate = change_specs(change, cache)
    assert refs(reference, candidate) == ["HEAD", "HEAD"]
    assert (reference.series, candidate.series) == ((), (patch,))
    assert refs(*change_specs(replace(change, revisions=("topic",)), cache)) == ["topic", "topic"]


def test_patches_on_their_base_commit(
    tree: Tree, patch: Path, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tree.id("main~2")
    patch.write_text(PATCH.replace("-- \n", f"base-commit: {base}\n-- \n"))
    pair = change_specs(Change(tree=tree.path, patches=(patch,)), cache)
    assert refs(*pair) == [base[:12]] * 2 and pair[0].name == base[:12]
    assert f"==> base-commit {base[:12]} is taken" in capsys.readouterr().err
    named = Change(tree=tree.path, patches=(patch,), revisions=("main",))
    assert refs(*change_specs(named, cache)) == ["main", "main"], "what is named is taken"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Change(revisions=("nothing",)), "ref 'nothing'"),
        (Change(revisions=("nothing",), dirty=True), "ref 'nothing'"),
        (
            Change(revisions=("main",), base="patched"),
            "--base patched: with --git it is the configuration alone",
        ),
    ],
)
def test_what_is_not_in_the_tree(change: Change, message: str, tree: Tree, cache: Cache) -> None:
    with pytest.raises(ConfigError, match=message):
        change_specs(replace(change, tree=tree.path), cache)


def test_a_folder_below_a_repository_is_none(tree: Tree, cache: Cache) -> None:
    """It may be a source that lies unpacked there."""
    (tree.path / "arch").mkdir(exist_ok=True)
    with pytest.raises(ConfigError, match=r"arch is not the top of a git repository"):
        change_specs(Change(tree=tree.path / "arch", revisions=("main",)), cache)


# --- configurations --------------------------------------------------------------------------------


@pytest.fixture
def configs(tmp_path: Path) -> tuple[Path, Path]:
    pair = tmp_path / "build-a/.config", tmp_path / "preempt.config"
    for path in pair:
        path.parent.mkdir(exist_ok=True)
        path.write_text("CONFIG_X86_64=y\nCONFIG_KVM=m\n")
    return pair


def test_two_configurations_of_one_source(configs: tuple[Path, Path], cache: Cache) -> None:
    pair = change_specs(Change(configs=configs), cache)
    assert names(*pair) == ["build-a", "preempt"]
    assert tuple(spec.whole_config for spec in pair) == configs
    for spec in pair:
        assert (spec.base, spec.config) == (load_kernel("unpatched").base, (WHOLE_CONFIG,))


def test_two_configurations_of_a_revision(tree: Tree, configs: tuple[Path, Path], cache: Cache) -> None:
    pair = change_specs(Change(configs=configs, tree=tree.path), cache)
    assert refs(*pair) == ["HEAD", "HEAD"] and names(*pair) == ["build-a", "preempt"]
    pair = change_specs(Change(configs=configs, tree=tree.path, revisions=("topic",)), cache)
    assert refs(*pair) == ["topic", "topic"]


def test_a_configuration_without_kvm_is_refused_at_once(configs: tuple[Path, Path], cache: Cache) -> None:
    configs[1].write_text("CONFIG_X86_64=y\n")
    with pytest.raises(ConfigError, match=r"preempt\.config: a kernel without KVM"):
        change_specs(Change(configs=configs), cache)
    assert not cache.root.exists()


def test_one_configuration_for_both(configs: tuple[Path, Path], patch: Path, cache: Cache) -> None:
    pair = change_specs(Change(configs=configs[:1], patches=(patch,)), cache)
    assert [spec.whole_config for spec in pair] == [configs[0]] * 2
    assert names(*pair) == ["unpatched", "0001-mm-change-one"] and pair[1].series == (patch,)


# --- mails -----------------------------------------------------------------------------------------

ID = "20231211.1@example.org"


def install_b4(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = directory / "bin/b4"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)


def test_a_message_id_is_fetched_once(
    tmp_path: Path, patch: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    script = f'echo "$1 $2 $4" >> {calls}; cp "{patch}" "$3/v2_fix.mbx"; touch "$3/v2_fix.cover"'
    install_b4(tmp_path, script, monkeypatch)
    for _ in range(2):
        _, candidate = change_specs(Change(message_ids=(ID,)), cache)
        assert candidate.name == "v2_fix" and candidate.series[0].read_text() == PATCH
    assert calls.read_text() == f"am -o {ID}\n"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo Grabbing thread; echo 'Server returned an error: 404'; exit 1",
            "Server returned an error: 404",
        ),
        ("exit 0", "b4 found no patches"),
        ("exit 1", "it says nothing"),
    ],
)
def test_a_mail_that_cannot_be_had(
    script: str, message: str, tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_b4(tmp_path, script, monkeypatch)
    with pytest.raises(LabError) as raised:
        change_specs(Change(message_ids=(ID,)), cache)
    assert str(raised.value).startswith(f"{ID}: b4") and message in str(raised.value)
    assert "save the raw mail" in raised.value.hint
    assert not list((cache.root / "mail").iterdir())


def test_a_thread_that_is_not_whole_yet_is_not_kept(
    tmp_path: Path, patch: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch.write_text("".join(PATCH.replace("[PATCH]", f"[PATCH {number}/3]") for number in (1, 2)))
    install_b4(tmp_path, f'cp "{patch}" "$3/x.mbx"', monkeypatch)
    with pytest.raises(ConfigError, match=r"x\.mbx: "):
        change_specs(Change(message_ids=(ID,)), cache)
    assert not list((cache.root / "mail").iterdir())


def test_without_b4_the_remedy_is_told(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guestloop.ground.proc.has_program", lambda name: name != "b4")
    with pytest.raises(LabError, match=f"{ID}: b4, which fetches mails, is not installed") as raised:
        change_specs(Change(message_ids=(ID,)), cache)
    assert "save the raw mail" in raised.value.hint
