# SPDX-License-Identifier: GPL-2.0-or-later
"""What an element of --kernels can be: read without looking at the disk or the network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from guestloop.config import load_argument
from guestloop.config.existing import (
    ByName,
    ByVersion,
    FilesSpec,
    InstalledSpec,
    PackageSpec,
    TreeSpec,
    parse_existing,
)
from guestloop.ground.errors import ConfigError

A = "linux-image-6.12.117+deb13-amd64_6.12.117-1_amd64.deb"
B = "linux-modules-7.2.13+deb14-amd64_7.2.13-1_amd64.deb"


@pytest.mark.parametrize(
    ("argument", "wanted", "suite"),
    [
        ("deb:linux-image-amd64", ByName("linux-image-amd64"), ""),
        ("deb:linux-image-6.12.117+deb13-amd64", ByName("linux-image-6.12.117+deb13-amd64"), ""),
        ("deb:6.12.117", ByVersion("6.12.117", ""), ""),
        ("deb:6.12.117-1", ByVersion("6.12.117-1", ""), ""),
        ("deb:6.18@trixie-backports", ByVersion("6.18", ""), "trixie-backports"),
        ("deb:6.18-cloud-amd64@trixie-backports", ByVersion("6.18", "cloud-amd64"), "trixie-backports"),
        ("deb:6.1.0-56-rt-amd64", ByVersion("6.1.0-56", "rt-amd64"), ""),
        ("deb:7.3-rc4", ByVersion("7.3~rc4", ""), ""),
        ("deb:newest@sid", ByVersion("", ""), "sid"),
        ("deb:newest-amd64@sid", ByVersion("", "amd64"), "sid"),
        ("deb:linux-image-amd64@buster/updates", ByName("linux-image-amd64"), "buster/updates"),
    ],
)
def test_packages(argument: str, wanted: ByName | ByVersion, suite: str) -> None:
    assert parse_existing(argument) == PackageSpec(argument, wanted, suite)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("deb:", "neither a version nor a package of a kernel"),
        ("deb:bash", r"neither a version nor a package of a kernel \(linux-\.\.\.\): 'bash'"),
        ("deb:linux-image;id", "neither a version nor a package"),
        ("deb:6.12@", "not a suite: ''"),
        ("deb:6.12@../sid", r"not a suite: '\.\./sid'"),
        ("~nobody-of-that-name/linux", "not a path on this machine"),
        (f"{A}+x.rpm", "the files of one kernel must be of one kind"),
    ],
)
def test_what_cannot_be_one_is_refused(argument: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_existing(argument)
    assert str(caught.value).startswith(f"--kernels {argument}: ")


def test_files_are_split_at_the_plus_behind_an_ending(tmp_path: Path) -> None:
    spec = parse_existing(f"{tmp_path}/{A}+{tmp_path}/{B}")
    assert isinstance(spec, FilesSpec) and spec.files == (tmp_path / A, tmp_path / B)
    assert spec.name == "linux-image-6.12.117+deb13-amd64"


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.xz", "tar.zst", "rpm"])
def test_other_files(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = parse_existing(f"linux-6.18.0.x86_64.{ending}")
    assert isinstance(spec, FilesSpec) and spec.files == (tmp_path / f"linux-6.18.0.x86_64.{ending}",)
    assert spec.name == "linux-6.18.0.x86_64"


def test_installed_kernels(tmp_path: Path) -> None:
    spec = parse_existing(f"{tmp_path}/boot/vmlinuz-6.1.0-56-amd64")
    assert isinstance(spec, InstalledSpec)
    assert (spec.release, spec.name) == ("6.1.0-56-amd64", "vmlinuz-6.1.0-56-amd64")
    running = parse_existing("running")
    assert isinstance(running, InstalledSpec) and running.name == "running"
    assert running.image == Path(f"/boot/vmlinuz-{os.uname().release}")


def test_a_link_to_an_image_is_the_image(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").symlink_to("vmlinuz-6.12.1")
    spec = parse_existing(f"{tmp_path}/vmlinuz")
    assert isinstance(spec, InstalledSpec) and spec.release == "6.12.1"


@pytest.mark.parametrize("argument", ["./linux", "../x/linux/", "."])
def test_build_trees(argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "linux"
    here.mkdir()
    monkeypatch.chdir(here if argument == "." else tmp_path)
    spec = parse_existing(argument)
    assert isinstance(spec, TreeSpec) and spec.name == "linux" and spec.directory.is_absolute()


def test_a_name_without_a_slash_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that happens to lie here must not hide a kernel of kernels/."""
    (tmp_path / "unpatched").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_existing("unpatched") is None
    assert load_argument("unpatched").name == "unpatched"


def test_a_yaml_file_is_read_wherever_it_lies(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml: no such file"):
        load_argument(f"{tmp_path}/mine.yaml")


def test_an_unknown_name_tells_what_else_can_be_named() -> None:
    with pytest.raises(ConfigError, match="unknown kernel 'runnin'") as caught:
        load_argument("runnin")
    assert caught.value.hint.startswith("did you mean 'running'?") and "deb:PACKAGE" in caught.value.hint


@pytest.mark.parametrize("argument", ["deb:6.18@trixie-backports", "/a b/li;nux", "deb:7.3~rc1", "/boot/.."])
def test_names_are_fit_for_files(argument: str) -> None:
    spec = parse_existing(argument)
    assert spec and Path(spec.name).name == spec.name and not set(spec.name) & set(" /@;:")
