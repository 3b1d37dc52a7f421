# SPDX-License-Identifier: GPL-2.0-or-later
"""What rebuilds what: keys of cache entries, and the SSH keys."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from guestloop.cache import Cache, content_key
from guestloop.debian.sources import Release, Source
from guestloop.ground import proc
from guestloop.ground.errors import CacheError, LabError, ProcessError
from guestloop.images import l1, l2, rootfs
from guestloop.images.compiler import describe_program
from guestloop.images.keys import L1Keys, obtain_keys

MIRROR = "http://one.example"  # exists nowhere (RFC 2606)
RELEASE = Release("bookworm", (Source((f"{MIRROR}/debian",), ("bookworm",), ("main",)),))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return Path(shutil.copytree(l1.RECIPE, tmp_path / "recipe"))


@pytest.fixture
def keys(tmp_path: Path) -> L1Keys:
    return obtain_keys(Cache(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["init.c", "l1.h", "exclude", "etc/ssh/sshd_config", "etc/passwd"])
def test_each_part_of_the_recipe_is_in_the_key_of_the_disk(recipe: Path, keys: L1Keys, name: str) -> None:
    tar = Path("root/abc/root.tar")
    before = content_key(l1.describe_disk(recipe, tar, keys))
    (recipe / name).write_text((recipe / name).read_text() + "\n")
    assert content_key(l1.describe_disk(recipe, tar, keys)) != before


def test_packages_and_keys_are_in_the_key_of_the_disk(recipe: Path, keys: L1Keys, tmp_path: Path) -> None:
    described = [
        l1.describe_disk(recipe, Path("root/abc/root.tar"), keys),
        l1.describe_disk(recipe, Path("root/other/root.tar"), keys),
        l1.describe_disk(recipe, Path("root/abc/root.tar"), obtain_keys(Cache(tmp_path / "second"))),
    ]
    assert len({content_key(inputs) for inputs in described}) == 3


def test_payload_sources_are_in_the_key_of_the_initramfs(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(l2.RECIPE, tmp_path / "l2"))
    before = content_key(describe_program(copy))
    (copy / "loads.h").write_text((copy / "loads.h").read_text() + "\n")
    assert content_key(describe_program(copy)) != before


def test_ssh_keys_are_made_once_and_kept_private(tmp_path: Path) -> None:
    first, second = obtain_keys(Cache(tmp_path)), obtain_keys(Cache(tmp_path))
    assert first == second
    assert stat.S_IMODE(first.client.private.stat().st_mode) == 0o600
    assert first.host.public.startswith("ssh-ed25519 ")
    assert first.host.public != first.client.public


def test_building_needs_root(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    cache = Cache(tmp_path / "cache")
    with pytest.raises(LabError, match="only be built as root") as caught:
        rootfs.build_root(cache, recipe, RELEASE)
    assert "cache" in caught.value.hint
    assert not list((cache.root / "l1-root").glob("*"))


def test_full_disk_is_a_cache_error_and_leaves_nothing(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(argv: list[str], **_: object) -> None:
        raise ProcessError(argv, 1, "E: write failed: No space left on device")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(rootfs, "fetch_options", lambda: "")
    monkeypatch.setattr(proc, "run", run)
    cache = Cache(tmp_path / "cache")
    with pytest.raises(CacheError, match="no space left"):
        rootfs.build_root(cache, recipe, RELEASE)
    assert not list((cache.root / "l1-root").glob(".*"))


def test_other_failures_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ProcessError), Cache(tmp_path).disk_errors():
        raise ProcessError(["mmdebstrap"], 25, "E: unable to resolve host")


def test_lists_skip_comments() -> None:
    packages = list(rootfs.read_list(l1.RECIPE / "packages"))
    assert "python3" in packages
    assert not any(name.startswith("#") for name in packages)
