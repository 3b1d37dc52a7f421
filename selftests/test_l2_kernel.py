# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel of every L2: how it is built, and that figures of two of them never meet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from samples import CANDIDATE, L2_KERNEL, REFERENCE, A, B, compare, plan_of, rounds_of
from tiny import KVM, base, cache, plain_compiler, read_once, spec

from guestloop.cache import Cache
from guestloop.compare import Overall
from guestloop.config import KernelSpec, find_kernel_files, load_argument, load_kernel, parse_kernel
from guestloop.ground.errors import ConfigError, LabError
from guestloop.job.subjects import fit_kernels
from guestloop.kernels import build_kernel, build_l2_kernel, describe_l2_kernel, kconfig
from guestloop.kernels.artifacts import KIND
from guestloop.kernels.cpus import with_cpus
from guestloop.kernels.l2 import SPEC
from guestloop.kernels.role import L1, L2
from guestloop.report import describe, render_text
from guestloop.report.verdict_json import validate
from guestloop.results.plan import Plan, parse_plan
from guestloop.results.records import L2_BUILD_ID, Outcome, Round
from guestloop.results.sizes import Sizes

__all__ = ["base", "cache", "plain_compiler", "read_once", "spec"]  # fixtures

FLUSHES = {A: (420, 433), B: (425, 430)}
OTHER = "0bad" * 10


# --- building it -----------------------------------------------------------------------------------


@pytest.fixture
def file(spec: KernelSpec) -> Path:
    """A kernel file with a configuration that makes no modules."""
    spec.config[0].write_text("CONFIG_VIRTIO_CONSOLE=y\n")
    base = f"base: {{{spec.base.kind}: {spec.base.location}}}"
    spec.path.write_text(f"description: x\n{base}\nconfig: [{spec.config[0]}]\n")
    return spec.path


def test_it_has_no_modules_and_says_what_it_is(file: Path, cache: Cache) -> None:
    kernel = build_l2_kernel(cache, file)
    assert dict(kernel.modules) == {} and list(kernel.build_ids) == ["vmlinux"]
    seen = describe_l2_kernel(kernel)
    assert (seen.release, seen.base) == ("6.12.0-tiny", "tiny.tar")
    assert seen.config_sha256 == hashlib.sha256(b"CONFIG_VIRTIO_CONSOLE=y\n").hexdigest()
    assert seen.compiler.startswith("gcc ") and seen.build_id == kernel.build_ids["vmlinux"]


def test_one_that_makes_modules_is_built_with_them(file: Path, spec: KernelSpec, cache: Cache) -> None:
    spec.config[0].write_text(KVM)
    assert list(build_l2_kernel(cache, file).modules) == ["kvm", "kvm-amd", "kvm-intel"]


def test_it_shares_the_source_tree_of_the_kernels_under_test(
    file: Path, spec: KernelSpec, cache: Cache
) -> None:
    build_l2_kernel(cache, file)
    spec.config[0].write_text(KVM)
    build_kernel(spec, cache)
    (work,) = (cache.root / "work").iterdir()
    assert len(list(work.glob("objects-*"))) == 2


@pytest.mark.parametrize(
    ("config", "unmet"),
    [
        ("", ["KVM: wanted m, seen n", "KVM_AMD: wanted m, seen n", "KVM_INTEL: wanted m, seen n"]),
        (KVM.replace("KVM=m", "KVM=y"), ["KVM: wanted m, seen y"]),
        (KVM.replace("CONFIG_KVM_INTEL=m", ""), ["KVM_INTEL: wanted m, seen n"]),
    ],
)
def test_a_kernel_for_l1_needs_kvm_as_modules(
    spec: KernelSpec, cache: Cache, config: str, unmet: Sequence[str]
) -> None:
    """Said before anything is built."""
    spec.config[0].write_text(config)
    with pytest.raises(ConfigError) as caught:
        build_kernel(spec, cache)
    options = "; ".join(f"CONFIG_{option}" for option in unmet)
    assert str(caught.value) == f"{spec.path}: config: not for a kernel of L1: {options}"
    assert "modules" in caught.value.hint
    assert not (cache.root / KIND).exists()


def test_it_is_not_taken_from_the_cache_as_a_kernel_for_l1(file: Path, cache: Cache) -> None:
    build_l2_kernel(cache, file)
    with pytest.raises(ConfigError, match="not for a kernel of L1"):
        build_kernel(parse_kernel(file), cache)


def test_the_shipped_one_is_none_of_the_kernels_under_test() -> None:
    own = parse_kernel(SPEC)
    assert SPEC not in find_kernel_files().values()
    assert own.series == ()
    options = kconfig.merge(own.config)
    L2.check(options, "l2")
    with pytest.raises(ConfigError):
        L1.check(options, "l2")


# --- for how many CPUs -----------------------------------------------------------------------------


@pytest.mark.parametrize(("cpus", "configured"), [(1, "16"), (16, "16"), (17, "64"), (64, "64")])
def test_a_kernel_for_more_cpus_is_another_one(cpus: int, configured: str) -> None:
    """Those of the usual sizes stay what they are, and so does what is known of their scatter."""
    for own in (parse_kernel(SPEC), load_kernel("patched")):
        fitted = with_cpus(own, cpus)
        assert kconfig.merge(fitted.config)["NR_CPUS"] == configured
        assert (fitted == own) is (configured == "16")


def test_what_the_user_configured_is_the_users(spec: KernelSpec, tmp_path: Path) -> None:
    whole = replace(load_kernel("unpatched"), whole_config=tmp_path / ".config")
    assert with_cpus(whole, 64) == whole
    spec.config[0].write_text(KVM)
    assert with_cpus(spec, 64) == spec, "then the kernel's own default holds, which is 64"


def test_kernels_of_a_run_are_built_for_the_cpus_of_its_l1s() -> None:
    existing = load_argument("deb:newest")
    specs = (load_kernel("unpatched"), existing)
    assert fit_kernels(specs, Sizes.of(8)) == specs
    built, same = fit_kernels(specs, Sizes.of(16))
    assert same is existing and built != specs[0]


# --- what a record says ----------------------------------------------------------------------------


def test_a_plan_keeps_it() -> None:
    plan = plan_of(REFERENCE, CANDIDATE)
    assert parse_plan(json.loads(json.dumps(asdict(plan)))) == plan
    assert plan.l2_kernel == L2_KERNEL


def old(plan: Plan, rounds: Sequence[Round]) -> tuple[Plan, list[Round]]:
    """Results of a guestloop that did not record L2's kernel."""
    data = json.loads(json.dumps(asdict(plan)))
    del data["l2_kernel"]
    return parse_plan(data), [replace(item, facts={}) for item in rounds]


def test_the_report_and_verdict_json_name_it() -> None:
    plan = plan_of(REFERENCE, CANDIDATE)
    verdict = compare(plan, rounds_of(FLUSHES))
    wanted = "L2: 6.12.117, linux-source-6.12 6.12.117-1, gcc 12.2.0, build id 12cd12cd12cd"
    assert wanted in render_text(plan, verdict).splitlines()
    data = describe(plan, verdict)
    validate(data)
    assert data["l2_kernel"] == asdict(L2_KERNEL)
    assert data["cells"][0]["rounds"][0]["facts"][L2_BUILD_ID] == L2_KERNEL.build_id


def test_results_that_do_not_say_it_are_compared_and_that_is_said() -> None:
    plan, rounds = old(plan_of(REFERENCE, CANDIDATE), rounds_of(FLUSHES))
    verdict = compare(plan, rounds)
    assert verdict.overall is Overall.NO_REGRESSION
    said = "L2: its kernel was not recorded; it was the reference kernel in results of that age"
    assert said in render_text(plan, verdict).splitlines()
    data = describe(plan, verdict)
    validate(data)
    assert data["l2_kernel"] is None


# --- two of them never meet ------------------------------------------------------------------------


def test_rounds_of_two_l2_kernels_are_refused_naming_both() -> None:
    rounds = rounds_of(FLUSHES)
    rounds[2] = replace(rounds[2], facts={L2_BUILD_ID: OTHER})
    with pytest.raises(LabError) as caught:
        compare(plan_of(REFERENCE, CANDIDATE), rounds)
    assert str(caught.value) == (
        f"L2 ran more than one kernel: build id {L2_KERNEL.build_id} in the plan; "
        f"build id {OTHER} in round 2 of asyncpf/shadow/read-shared on {A}"
    )
    assert "one L2 kernel" in caught.value.hint


def test_a_plan_of_another_l2_kernel_is_refused() -> None:
    plan = replace(plan_of(REFERENCE, CANDIDATE), l2_kernel=replace(L2_KERNEL, build_id=OTHER))
    with pytest.raises(LabError, match=f"build id {OTHER} in the plan; build id {L2_KERNEL.build_id} in"):
        compare(plan, rounds_of(FLUSHES))


@pytest.mark.parametrize("which", ["plan", "round"])
def test_old_and_new_results_do_not_mix(which: str) -> None:
    plan, rounds = plan_of(REFERENCE, CANDIDATE), rounds_of(FLUSHES)
    old_plan, old_rounds = old(plan, rounds)
    mixed = [*rounds[:3], *old_rounds[3:]]
    with pytest.raises(LabError, match=f"build id not recorded in round 2 of .* on {B}"):
        compare(old_plan if which == "plan" else plan, mixed)


def test_a_round_in_which_no_l2_ran_is_no_stranger() -> None:
    rounds = rounds_of(FLUSHES)
    rounds[3] = replace(rounds[3], facts={}, outcome=Outcome.SKIPPED, reason="no swap")
    assert compare(plan_of(REFERENCE, CANDIDATE), rounds).overall is Overall.NOTHING_MEASURED
