# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels of a run: those that exist are made bootable first, those to build are left for later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from guestloop.cache import Cache
from guestloop.config import ExistingSpec, KernelSpec
from guestloop.ground.errors import ConfigError, Kind, NotApplied
from guestloop.job import subjects
from guestloop.job.options import load_kernels
from guestloop.job.subjects import (
    Existing,
    ToBuild,
    find_subjects,
    refuse_if_none_is_left,
    refuse_no_change,
)
from guestloop.results.origin import Origin, OriginKind, describe_origin
from guestloop.results.plan import Reach
from guestloop.results.provenance import (
    ConfigRecord,
    Expectation,
    Failure,
    PatchRecord,
    Provenance,
    Trend,
)


class Bootable:
    """A stand-in for a kernel with KVM for one vendor."""

    def __init__(self, name: str, module: str) -> None:
        self.name, self.module = name, module

    def require_module(self, module: str) -> None:
        if module != self.module:
            raise ConfigError(f"{self.name}: no {module}")


def found_in_git(spec: KernelSpec, _cache: Cache) -> Provenance:
    """A tree for each kernel but one whose series does not apply, and the same tree for all mutants."""
    if spec.name == "aging-noflush":
        raise NotApplied("aging-noflush.patch: hunk 1 of vmscan.c does not fit")
    tree = "mutant" if "mutants" in spec.path.parts else spec.name
    patches = tuple(PatchRecord(path.name, "mm: a subject", "a" * 64) for path in spec.series)
    config = ConfigRecord(("base.config",), "c" * 64, ("CONFIG_KVM: y -> m",))
    return Provenance(f"base of {spec.name}", tree, "", patches, config, ("hunk 2 is 7 lines off",))


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments that were unpacked; nothing is built."""
    seen: list[str] = []

    def unpack(spec: ExistingSpec, _cache: Cache) -> Any:
        seen.append(spec.argument)
        return SimpleNamespace(origin=Origin(OriginKind.PACKAGE, spec.argument, "linux-image-x", "6.18.1-1"))

    monkeypatch.setattr(subjects, "unpack_existing", unpack)
    monkeypatch.setattr(subjects, "make_bootable", lambda _unpacked, name, _cache: Bootable(name, "kvm_amd"))
    monkeypatch.setattr(subjects, "build_kernel", lambda spec, _cache, inputs: f"built {spec.name}")
    monkeypatch.setattr(subjects, "find_inputs", found_in_git)
    monkeypatch.setattr(subjects, "describe_inputs", lambda _spec, found: found)
    monkeypatch.setattr(subjects, "describe_attempt", lambda spec, _cache: Provenance(f"base of {spec.name}"))
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
    named = replace(built, spec=replace(built.spec, written="fix.patch"))
    assert named.origin(kernel).argument == "fix.patch"
    assert unpacked


def test_kvm_for_another_cpu_is_refused_at_once(tmp_path: Path, unpacked: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"6\.18: no kvm_intel"):
        find(tmp_path, "unpatched", "deb:6.18", module="kvm_intel")
    assert unpacked == ["deb:6.18"]


def test_what_was_taken_is_said(
    tmp_path: Path, unpacked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    find(tmp_path, "unpatched", "patched")
    assert capsys.readouterr().err.splitlines()[-5:] == [
        "      laid over base.config: CONFIG_KVM: y -> m",
        "==> patched: base of patched, 1 patch, tree patched, configuration base.config",
        "      0001-KVM-x86-mmu-no-flush-for-lost-Accessed.patch: mm: a subject",
        "      hunk 2 is 7 lines off",
        "      laid over base.config: CONFIG_KVM: y -> m",
    ]


def test_what_a_package_was_resolved_to_is_said(
    tmp_path: Path, unpacked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    find(tmp_path, "deb:6.18", "unpatched")
    assert "==> 6.18: linux-image-x 6.18.1-1, no signature vouches for it" in capsys.readouterr().err


def test_a_signed_suite_is_named_with_its_date() -> None:
    origin = Origin(
        OriginKind.PACKAGE,
        "deb:newest@sid",
        "linux-image-x",
        "7.2.1-1",
        suite="sid",
        release_date="Sat, 21 Nov 2026 09:15:44 UTC",
        verified=True,
    )
    told = "linux-image-x 7.2.1-1, suite sid, Release of Sat, 21 Nov 2026 09:15:44 UTC"
    assert describe_origin(origin) == told


def test_a_candidate_that_does_not_apply_is_left_to_be_told(tmp_path: Path, unpacked: list[str]) -> None:
    _, bad, good = find(tmp_path, "unpatched", "aging-noflush", "patched")
    assert good.refusal is None
    with pytest.raises(NotApplied):
        bad.obtain(None)
    planned = bad.plan_without(Failure.of(bad.refusal, bad.name))
    assert (planned.base, planned.release, planned.sha256) == ("base of aging-noflush", "", "")
    assert planned.failure and planned.failure.kind is Kind.NOT_APPLIED


def test_no_run_without_a_kernel_to_compare(tmp_path: Path, unpacked: list[str]) -> None:
    with pytest.raises(NotApplied, match=r"aging-noflush\.patch: hunk 1"):
        find(tmp_path, "unpatched", "aging-noflush")
    with pytest.raises(ConfigError, match="none of 2 candidates can be measured"):
        find(tmp_path, "unpatched", "aging-noflush", "aging-noflush")
    with pytest.raises(NotApplied, match=r"aging-noflush\.patch: hunk 1"):
        find(tmp_path, "aging-noflush", "patched")


def test_what_candidates_are_for(tmp_path: Path, unpacked: list[str]) -> None:
    expect = (Expectation("zap", Trend.FEWER),)
    first, second, third = load_kernels(["unpatched", "patched", "deb:6.18"])
    assert isinstance(second, KernelSpec)
    own = (Expectation("zap", Trend.MORE), Expectation("sync", Trend.MORE))
    specs = (first, replace(second, expect=own), third)
    reference, built, existing = find_subjects(specs, "kvm_amd", Cache(tmp_path), expect)
    assert (reference.expect, existing.expect) == ((), expect)
    assert built.expect == (expect[0], own[1]), "the command line goes before the file"


def test_a_change_that_changes_nothing(tmp_path: Path, unpacked: list[str]) -> None:
    refuse_no_change(find(tmp_path, "unpatched", "patched", "deb:6.18"))
    with pytest.raises(ConfigError, match="nothing is changed: tree mutant and the configuration"):
        refuse_no_change(find(tmp_path, "unmap-skips", "swap-dirty-lost"))


def test_a_kernel_that_is_compared_with_none_is_no_error() -> None:
    """Selftests boot one kernel alone, and so may a matrix of Avocado's."""
    refuse_if_none_is_left([])
