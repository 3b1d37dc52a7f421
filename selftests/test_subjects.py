# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels of a run: those that exist are made bootable first, those to build are left for later."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from guestloop.cache import Cache
from guestloop.config import ExistingSpec
from guestloop.ground.errors import ConfigError
from guestloop.job import subjects
from guestloop.job.options import load_kernels
from guestloop.job.subjects import Existing, ToBuild, find_subjects
from guestloop.results.origin import Origin, OriginKind
from guestloop.results.plan import Reach


class Bootable:
    """A stand-in for a kernel with KVM for one vendor."""

    def __init__(self, name: str, module: str) -> None:
        self.name, self.module = name, module

    def require_module(self, module: str) -> None:
        if module != self.module:
            raise ConfigError(f"{self.name}: no {module}")


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments that were unpacked; nothing is built."""
    seen: list[str] = []

    def unpack(spec: ExistingSpec, _cache: Cache) -> Any:
        seen.append(spec.argument)
        return SimpleNamespace(origin=Origin(OriginKind.PACKAGE, spec.argument, "linux-image-x", "6.18.1-1"))

    monkeypatch.setattr(subjects, "unpack_existing", unpack)
    monkeypatch.setattr(subjects, "make_bootable", lambda _unpacked, name, _cache: Bootable(name, "kvm_amd"))
    monkeypatch.setattr(subjects, "build_kernel", lambda spec, _cache: f"built {spec.name}")
    return seen


def find(tmp_path: Path, *arguments: str, module: str = "kvm_amd") -> Any:
    return find_subjects(load_kernels(arguments), module, Cache(tmp_path))


def test_both_kinds_in_the_order_of_the_command_line(tmp_path: Path, unpacked: list[str]) -> None:
    found = find(tmp_path, "unpatched", "deb:6.18", "patched", "deb:6.18")
    assert [subject.name for subject in found] == ["unpatched", "6.18", "patched", "6.18.2"]
    assert [type(subject) for subject in found] == [ToBuild, Existing, ToBuild, Existing]
    assert unpacked == ["deb:6.18", "deb:6.18"]
    assert found[1].obtain(None).name == "6.18" and found[2].obtain(None) == "built patched"


def test_origins(tmp_path: Path, unpacked: list[str]) -> None:
    built, existing = find(tmp_path, "patched", "deb:6.18")
    kernel = SimpleNamespace(base="linux-source-6.12 6.12.117-1", release="6.12.117")
    assert built.origin(kernel) == Origin(OriginKind.BUILT, "patched", kernel.base, "6.12.117")
    assert existing.origin(kernel) == Origin(OriginKind.PACKAGE, "deb:6.18", "linux-image-x", "6.18.1-1")
    assert built.reach == built.spec.reach != Reach() and existing.reach == Reach()
    assert unpacked


def test_kvm_for_another_cpu_is_refused_at_once(tmp_path: Path, unpacked: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"6\.18: no kvm_intel"):
        find(tmp_path, "unpatched", "deb:6.18", module="kvm_intel")
    assert unpacked == ["deb:6.18"]
