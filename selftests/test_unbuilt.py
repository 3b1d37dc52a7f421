# SPDX-License-Identifier: GPL-2.0-or-later
"""Candidates that do not apply or do not compile: the others go on, and who is at fault decides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from samples import CANDIDATE, L2_KERNEL, REFERENCE, A, B, compare, failed, plan_of, rounds_of

from guestloop.cache import Cache
from guestloop.compare import KernelState, Overall
from guestloop.config import load_kernel
from guestloop.ground.errors import ConfigError, Exit, GuestloopError, Kind, LabError, NotApplied, NotBuilt
from guestloop.job import run
from guestloop.job.conclude import conclude
from guestloop.job.obtain import obtain_kernels, plan_kernels
from guestloop.job.options import Options
from guestloop.job.plugin import complete_lab
from guestloop.job.prepare import Prepared
from guestloop.job.schedule import all_looks
from guestloop.job.subjects import Existing, Subject, ToBuild
from guestloop.lab.spec import LabSpec
from guestloop.report import FORMATS, describe, render_text
from guestloop.report.verdict_json import validate
from guestloop.results.origin import Origin, OriginKind
from guestloop.results.plan import Kernels, read_plan, write_plan
from guestloop.results.provenance import Failure

ROUNDS = {A: (420, 430), B: (0, 0)}


def why(kind: Kind = Kind.NOT_BUILT) -> Failure:
    """Why the sample of this kind could not be had."""
    failure = failed(kind).failure
    assert failure
    return failure


# --- the verdict -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "overall", "state"),
    [
        (Kind.NOT_BUILT, Overall.REGRESSION, KernelState.NOT_BUILT),
        (Kind.NOT_APPLIED, Overall.INCONCLUSIVE, KernelState.NOT_APPLIED),
        (Kind.CONFIG, Overall.INCONCLUSIVE, KernelState.NOT_BUILT),
    ],
)
def test_the_other_candidate_is_judged_all_the_same(kind: Kind, overall: Overall, state: KernelState) -> None:
    verdict = compare(plan_of(REFERENCE, failed(kind), CANDIDATE), rounds_of(ROUNDS))
    (cell,) = verdict.cells
    assert {name: one.status for name, one in cell.candidates.items()} == {B: "fewer"}
    assert list(cell.correctness) == [A, B]
    assert verdict.overall is overall
    assert verdict.kernels["broken"].state is state
    assert {verdict.kernels[name].state for name in (A, B)} == {KernelState.MEASURED}
    assert verdict.answer.startswith(f"{str(overall).replace('-', ' ')}: broken: {why(kind).reason}; ")


def test_nothing_is_measured_where_the_only_candidate_does_not_compile() -> None:
    plan = plan_of(REFERENCE, failed())
    verdict = compare(plan, [])
    assert (verdict.overall, verdict.exit_status, verdict.cells) == (Overall.REGRESSION, Exit.REGRESSION, ())
    assert verdict.answer == f"regression: {why().reason}; nothing was measured"
    (look,) = all_looks(plan, [], ())
    assert look.slots and {slot.kernel for slot in look.slots} == {A}


@pytest.mark.parametrize("others", [(), (CANDIDATE,)])
def test_report_and_file_have_the_compilers_lines(others: tuple[Any, ...], tmp_path: Path) -> None:
    plan = replace(plan_of(REFERENCE, failed(), *others), l2_kernel=L2_KERNEL if others else None)
    rounds = rounds_of(ROUNDS) if others else []
    verdict = compare(plan, rounds)
    data = describe(plan, verdict)
    validate(data)
    seen = data["kernels"]["broken"]
    assert (seen["state"], seen["reason"]) == ("not-built", why().reason)
    assert seen["details"] == list(why().details)
    assert (data["reference"], len(data["cells"])) == (A, len(others))
    text = render_text(plan, verdict)
    assert "B  broken: linux-source-6.12, 1 patch, not built\n" in text
    assert "         6 |   x = 1;\n           |   ^\n" in text
    assert ("count A" in text) == ("L2: " in text) == bool(others)
    assert max(map(len, text.splitlines())) <= 110


def test_the_plan_keeps_why(tmp_path: Path) -> None:
    plan = plan_of(REFERENCE, failed(Kind.NOT_APPLIED), CANDIDATE)
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan
    assert [kernel.name for kernel in plan.kernels.measured] == [A, B]


def test_two_that_could_not_be_built_are_not_the_same_build() -> None:
    assert not failed().is_same_build(failed(name="other"))
    assert not Kernels(REFERENCE, (failed(),)).are_identical


def test_nothing_is_compared_with_a_reference_that_is_no_kernel() -> None:
    with pytest.raises(ValueError, match="nothing can be compared with broken"):
        Kernels(failed(), (CANDIDATE,))


def test_conclude_without_a_lab(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_plan(tmp_path, replace(plan_of(REFERENCE, failed()), l2_kernel=None))
    assert conclude(tmp_path).exit_status is Exit.REGRESSION
    assert (tmp_path / "verdict.json").is_file()
    assert "nothing was measured" in capsys.readouterr().out


# --- building --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scripted(ToBuild):
    """A kernel whose build ends as it is told."""

    error: GuestloopError | None = None

    def obtain(self, cache: Cache) -> Any:
        if self.error:
            raise self.error
        return KERNEL


class Built(SimpleNamespace):
    """A kernel, as far as the plan has to do with it."""

    def require_module(self, module: str) -> None:
        if module != "kvm_amd":
            raise ConfigError(f"no module {module}")


KERNEL = Built(
    release="6.12.0",
    base="tiny",
    series=(),
    sha256="a" * 64,
    flush_callers={},
    build_ids={"vmlinux": "a1"},
    config=Path("/nonexistent/config"),
)
NOT_APPLIED = NotApplied("bad.patch: hunk 1 does not fit\n  stands there: x", hint="rebase")
NOT_BUILT = NotBuilt("worse: does not build: a.c:1:1: error: x\n  1 | x")
FULL = LabError("no space left")


def subject(name: str, error: GuestloopError | None = None) -> Subject:
    return Scripted(name, load_kernel("patched"), error=error)


def obtained(*subjects: Subject, module: str = "kvm_amd") -> Kernels:
    return plan_kernels(obtain_kernels(subjects, module, cast(Cache, None)))


def test_candidates_are_built_whatever_becomes_of_others(capsys: pytest.CaptureFixture[str]) -> None:
    kernels = obtained(subject(A), subject("bad", NOT_APPLIED), subject("good"), subject("worse", NOT_BUILT))
    assert [kernel.name for kernel in kernels.measured] == [A, "good"]
    assert [kernel.build_ids for kernel in kernels] == [KERNEL.build_ids, {}, KERNEL.build_ids, {}]
    bad, _, worse = kernels.candidates
    assert bad.failure == Failure(
        Kind.NOT_APPLIED, "bad.patch: hunk 1 does not fit", ("  stands there: x", "hint: rebase")
    )
    assert worse.failure == Failure(Kind.NOT_BUILT, "does not build: a.c:1:1: error: x", ("  1 | x",))
    assert worse.reach == load_kernel("patched").reach and worse.series == bad.series
    said = capsys.readouterr().err
    assert (
        "==> bad is not measured: bad.patch: hunk 1" in said
        and "==> worse is not measured: does not build: a.c" in said
    )


def test_a_run_without_a_candidate_is_wrong_usage() -> None:
    with pytest.raises(NotApplied) as caught:
        obtained(subject(A), subject("bad", NOT_APPLIED))
    assert caught.value is NOT_APPLIED and caught.value.exit_status is Exit.USAGE
    with pytest.raises(ConfigError, match=r"none of 2 candidates can be measured:\n  bad.patch: .*\n"):
        obtained(
            subject(A), subject("bad", NOT_APPLIED), subject("odd", ConfigError("odd: removes CONFIG_KVM"))
        )


def test_one_that_does_not_compile_is_left_to_be_reported() -> None:
    kernels = obtained(subject(A), subject("bad", NOT_APPLIED), subject("worse", NOT_BUILT))
    assert [kernel.name for kernel in kernels.measured] == [A]


@pytest.mark.parametrize(
    ("error", "status"), [(NOT_APPLIED, Exit.USAGE), (NOT_BUILT, Exit.LAB), (FULL, Exit.LAB)]
)
def test_without_a_reference_the_run_ends(error: GuestloopError, status: Exit) -> None:
    with pytest.raises(type(error)) as caught:
        obtained(subject(A, error), subject("good"))
    assert caught.value is error and error.exit_status is status


def test_a_fault_of_the_machine_is_none_of_the_candidate() -> None:
    with pytest.raises(LabError) as caught:
        obtained(subject(A), subject("unlucky", FULL), subject("good"))
    assert caught.value is FULL


def test_a_candidate_without_kvm_for_this_cpu_is_not_tried() -> None:
    """The module is looked for in what was built: a series can remove it."""
    origin = Origin(OriginKind.TREE, "./linux", "linux", "6.12")
    other = cast(Any, Built(**{**vars(KERNEL), "base": "linux"}))
    other.require_module = lambda _module: (_ for _ in ()).throw(ConfigError("linux: no module kvm_amd"))
    kernels = obtained(subject(A), Existing("linux", other, origin), subject("good"))
    assert kernels.candidates[0].failure == Failure(Kind.CONFIG, "no module kvm_amd")
    assert kernels.candidates[0].origin == origin


def test_plain_avocado_needs_every_kernel() -> None:
    lab = cast(LabSpec, object())
    assert complete_lab(Prepared(lab, "qemu", Kernels(REFERENCE, (CANDIDATE,)))) is lab
    with pytest.raises(LabError, match=r"broken: does not build: .*\n    6 "):
        complete_lab(Prepared(lab, "qemu", Kernels(REFERENCE, (failed(), CANDIDATE))))


# --- the whole run ---------------------------------------------------------------------------------


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    """A run whose kernels are not looked for, and which boots nothing."""
    monkeypatch.setattr(run, "find_subjects", lambda *_: ())
    monkeypatch.setattr(run, "lab_on", lambda *_, **__: pytest.fail("something is booted"))
    return Options(profile="smoke", accel="tcg", out=tmp_path / "out")


def test_a_run_whose_candidate_does_not_compile_ends_with_a_verdict(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = Prepared(None, "qemu", Kernels(REFERENCE, (failed(),)))
    monkeypatch.setattr(run, "prepare", lambda *_: prepared)
    assert run.run(options) is Exit.REGRESSION
    assert options.out
    assert sorted(path.name for path in options.out.iterdir()) == sorted(
        ["plan.json", "verdict.json", *FORMATS]
    )


def test_a_run_without_a_candidate_leaves_no_directory(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        assert options.out and options.out.is_dir()
        raise NOT_APPLIED

    monkeypatch.setattr(run, "prepare", refuse)
    with pytest.raises(NotApplied):
        run.run(options)
    assert options.out and not options.out.exists()


@pytest.mark.parametrize(("rounds", "probed"), [(1, False), (2, True)])
def test_probes_take_no_cells_only_round(
    options: Options, monkeypatch: pytest.MonkeyPatch, rounds: int, probed: bool
) -> None:
    prepared = Prepared(None, "qemu", Kernels(REFERENCE, (failed(),)))
    monkeypatch.setattr(run, "prepare", lambda *_: prepared)
    run.run(replace(options, rounds=rounds))
    assert options.out and read_plan(options.out).probe_changed is probed
