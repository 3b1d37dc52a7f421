# SPDX-License-Identifier: GPL-2.0-or-later
"""A stand-in for a kernel tree, which builds in a moment, and a cache that has its source already."""

from __future__ import annotations

import dataclasses
import shutil
import tarfile
from pathlib import Path

import pytest

from guestloop.cache import Cache
from guestloop.config import BaseKind, BaseSpec, KernelSpec
from guestloop.sources import find_source

DATA = Path(__file__).with_name("data") / "kernels"
KVM = "CONFIG_KVM=m\nCONFIG_KVM_AMD=m\nCONFIG_KVM_INTEL=m\n"
GOOD, BAD, BROKEN = (DATA / f"tiny-{what}.patch" for what in ("good", "bad", "broken"))


def pack(tree: Path, tarball: Path, top: str = "linux-tiny") -> BaseSpec:
    """Make a tarball of a directory; returns the base that it is."""
    with tarfile.open(tarball, "w") as archive:
        archive.add(tree, arcname=top)
    return BaseSpec(BaseKind.TARBALL, str(tarball))


def with_series(spec: KernelSpec, *patches: Path) -> KernelSpec:
    return dataclasses.replace(spec, name="patched", series=patches)


@pytest.fixture(autouse=True)
def plain_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler without ccache, which would keep its files for the tests' directories."""
    found = shutil.which
    monkeypatch.setattr(
        "guestloop.ground.proc._which", lambda name: None if name == "ccache" else found(name)
    )


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseSpec:
    return pack(DATA / "tiny", tmp_path_factory.mktemp("base") / "tiny.tar")


@pytest.fixture(scope="session")
def read_once(base: BaseSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a cache that has the base and nothing else."""
    root = tmp_path_factory.mktemp("read") / "cache"
    find_source(base, "a test", Cache(root))
    return root


@pytest.fixture
def cache(tmp_path: Path, read_once: Path) -> Cache:
    """A cache of its own for each test, in which only kernels have to be made."""
    return Cache(Path(shutil.copytree(read_once, tmp_path / "cache")))


@pytest.fixture
def empty_cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "empty")


@pytest.fixture
def spec(tmp_path: Path, base: BaseSpec) -> KernelSpec:
    fragment = tmp_path / "tiny.config"
    fragment.write_text(KVM)
    return KernelSpec("tiny", tmp_path / "tiny.yaml", "a stand-in", base, (fragment,), ())
