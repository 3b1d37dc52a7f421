# SPDX-License-Identifier: GPL-2.0-or-later
"""What was taken for a kernel: whole configurations of users, and the record of base and series."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tiny import BAD, GOOD, base, cache, plain_compiler, read_once, spec, with_series

from guestloop.cache import Cache
from guestloop.config import KernelSpec
from guestloop.ground.errors import NotApplied
from guestloop.kernels import build_kernel, describe_attempt, describe_inputs, find_inputs, kconfig
from guestloop.results.provenance import Provenance

__all__ = ["base", "cache", "plain_compiler", "read_once", "spec"]  # fixtures


def find_provenance(spec: KernelSpec, cache: Cache) -> Provenance:
    return describe_inputs(spec, find_inputs(spec, cache))


def test_a_whole_config_with_what_is_laid_over_it(spec: KernelSpec, cache: Cache, tmp_path: Path) -> None:
    whole = tmp_path / ".config"
    whole.write_text("CONFIG_X86_64=y\nCONFIG_KVM=y\nCONFIG_PREEMPT=y\nCONFIG_UNKNOWN=y\n")
    one = dataclasses.replace(spec, name="whole", whole_config=whole)
    options = kconfig.parse((build_kernel(one, cache).directory / "config").read_text())
    assert options == {"X86_64": "y", "KVM": "m", "KVM_AMD": "m", "KVM_INTEL": "m", "PREEMPT": "y"}
    first = build_kernel(one, cache).sha256
    whole.write_text(whole.read_text().replace("PREEMPT=y", "PREEMPT=n"))
    assert build_kernel(one, cache).sha256 != first != build_kernel(spec, cache).sha256


def test_what_a_kernel_is_made_from(spec: KernelSpec, cache: Cache, tmp_path: Path) -> None:
    whole = tmp_path / ".config"
    whole.write_text("CONFIG_X86_64=y\nCONFIG_KVM=y\n")
    made = find_provenance(dataclasses.replace(with_series(spec, GOOD), whole_config=whole), cache)
    assert (made.base, made.base_commit) == ("tiny.tar", "")
    assert len(made.tree) == 40 and made.tree != find_provenance(spec, cache).tree
    (patch,) = made.patches
    assert (patch.name, patch.subject) == (GOOD.name, "[PATCH] tiny: no flush for accessed")
    assert made.config.files == (str(whole), str(spec.config[0]))
    assert "CONFIG_KVM: y -> m" in made.config.laid_over
    plain = find_provenance(spec, cache).config
    assert plain.sha256 != made.config.sha256 and plain.laid_over == ()


def test_what_was_taken_for_a_series_that_does_not_apply(spec: KernelSpec, cache: Cache) -> None:
    bad = with_series(spec, BAD)
    with pytest.raises(NotApplied):
        find_provenance(bad, cache)
    made = describe_attempt(bad, cache)
    assert (made.base, made.tree, [patch.name for patch in made.patches]) == ("tiny.tar", "", [BAD.name])


def test_a_series_that_is_made_for_another_commit_says_so(
    spec: KernelSpec, cache: Cache, tmp_path: Path
) -> None:
    patch = tmp_path / "based.patch"
    patch.write_text(GOOD.read_text() + f"-- \n2.39.5\n\nbase-commit: {'1' * 40}\n")
    made = find_provenance(with_series(spec, patch), cache)
    assert "made for base-commit 111111111111, which this base is not" in made.notes
