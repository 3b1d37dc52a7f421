# SPDX-License-Identifier: GPL-2.0-or-later
"""Which functions a run watches, in which rounds, and what it keeps of them for later runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from samples import CANDIDATE, REFERENCE, SHADOW, TDP, A, B, failed, make_round, plan_of

from guestloop.agent.changed import Watched
from guestloop.cache import Cache
from guestloop.ground.errors import CacheError
from guestloop.job import changes as module
from guestloop.job.changes import describe, keep_reach, watched_by, with_changes, with_known_reach
from guestloop.job.obtain import Obtained
from guestloop.job.schedule import all_looks
from guestloop.job.subjects import ToBuild
from guestloop.kernels import Kernel
from guestloop.results.changes import ChangedFunction, Changes, Probed
from guestloop.results.plan import Kernels, Plan, read_plan, write_plan
from guestloop.results.provenance import ConfigRecord, Provenance
from guestloop.results.reach import Ran

SPTE = ChangedFunction("kvm", "mmu_spte_update", ("mmu_spte_update",), ("mmu_spte_update.isra.0",))
ADDED = ChangedFunction("vmlinux", "new_helper", (), ("new_helper",))
SETUP = ChangedFunction("kvm_amd", "setup", ("setup",), ("setup",), "it runs when its module is loaded")
CHANGES = Changes((SPTE, SETUP, ADDED))
SERIES = replace(CANDIDATE, changes=CHANGES)


def plan(**changed: Any) -> Plan:
    return replace(plan_of(REFERENCE, SERIES, cells=(SHADOW, TDP)), probe_changed=True, **changed)


def probed_in(planned: Plan) -> list[tuple[str, str, int]]:
    return [
        (slot.cell.mmu.value, slot.kernel, slot.round)
        for slot in all_looks(planned, (), ())[0].slots
        if slot.probed
    ]


def test_each_kernel_is_watched_where_the_function_is_there() -> None:
    assert watched_by(Kernels(REFERENCE, (SERIES,))) == {
        A: (Watched("kvm:mmu_spte_update", ("kvm:mmu_spte_update",)),),
        B: (
            Watched("kvm:mmu_spte_update", ("kvm:mmu_spte_update.isra.0",)),
            Watched("vmlinux:new_helper", ("new_helper",)),
        ),
    }


def test_the_reference_is_watched_for_all_candidates() -> None:
    zap = ChangedFunction("kvm", "zap", ("zap",), ("zap",))
    other = replace(CANDIDATE, name="other", changes=Changes((zap, SPTE)))
    watched = watched_by(Kernels(REFERENCE, (SERIES, other, replace(CANDIDATE, name="package"))))
    assert [one.function for one in watched[A]] == ["kvm:mmu_spte_update", "kvm:zap"]
    assert watched["package"] == ()


def test_the_first_round_of_each_cell_is_probed_on_both_kernels() -> None:
    assert sorted(probed_in(plan())) == [
        ("shadow", B, 1),
        ("shadow", A, 1),
        ("tdp", B, 1),
        ("tdp", A, 1),
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"probe_changed": False},
        {"kernels": Kernels(REFERENCE, (CANDIDATE,))},
        {"kernels": Kernels(REFERENCE, (replace(CANDIDATE, changes=Changes()),))},
    ],
)
def test_nothing_is_probed_without_need(changed: dict[str, Any]) -> None:
    assert probed_in(replace(plan(), **changed)) == []


def test_a_first_round_that_proved_nothing_is_repeated_with_probes() -> None:
    planned = plan()
    assert planned.probes(SHADOW, A, 3, repeats=1)
    assert not planned.probes(SHADOW, A, 3, repeats=2) and not planned.probes(SHADOW, A, 3)


def test_a_cell_that_is_known_to_be_hit_is_not_probed_again() -> None:
    ran = Ran({B: {"kvm:mmu_spte_update": 3}}, "results/1")
    assert {mmu for mmu, _, _ in probed_in(plan(known_reach={B: {SHADOW.id: ran}}))} == {"tdp"}
    other = replace(SERIES, name="other")
    both = replace(plan(known_reach={B: {SHADOW.id: ran}}), kernels=Kernels(REFERENCE, (SERIES, other)))
    shadow = {kernel for mmu, kernel, _ in probed_in(both) if mmu == "shadow"}
    assert shadow == {A, "other"}, "the other candidate is not known to"


def test_the_plan_keeps_what_differs_and_what_is_known(tmp_path: Path) -> None:
    planned = plan(known_reach={B: {SHADOW.id: Ran({B: {"kvm:mmu_spte_update": 3}}, "results/1")}})
    write_plan(tmp_path, planned)
    assert read_plan(tmp_path) == planned


def test_what_ran_is_kept_for_later_runs_of_the_same_builds(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    rounds = [
        make_round(cell, kernel, 1, 0, probed=Probed({"kvm:mmu_spte_update": hits, "vmlinux:new_helper": 0}))
        for cell, hits in ((SHADOW, 7), (TDP, 0))
        for kernel in (A, B)
    ]
    keep_reach(plan(), rounds, Path("/results/1"), cache)
    hits = {"kvm:mmu_spte_update": 7}
    known = with_known_reach(plan(), cache).known_reach
    assert known == {B: {SHADOW.id: Ran({A: hits, B: hits}, "/results/1")}}, "what did not run is proven anew"
    later = plan(kernels=Kernels(REFERENCE, (replace(SERIES, sha256="c" * 64),)))
    assert with_known_reach(later, cache).known_reach == {}
    keep_reach(plan(), rounds, Path("/results/2"), cache)
    assert with_known_reach(plan(), cache).known_reach == known, "the first to see it is named"


def test_a_cache_that_is_full_costs_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise CacheError("no space left in the cache")

    cache = Cache(tmp_path)
    monkeypatch.setattr(cache, "obtain", full)
    hit = make_round(SHADOW, B, 1, 0, probed=Probed({"kvm:mmu_spte_update": 1}))
    keep_reach(plan(), [hit], tmp_path, cache)
    assert capsys.readouterr().err == (
        "==> which functions ran is not kept for later runs: no space left in the cache\n"
    )


def obtained(config: str = "c", release: str = "6.12.117", *, builds: bool = True) -> Obtained:
    """A kernel of which only what tells a series is known."""
    provenance = Provenance(config=ConfigRecord((), config))
    subject = ToBuild("one", cast(Any, SimpleNamespace()), provenance)
    kernel = cast(Kernel, SimpleNamespace(release=release, compiler="gcc 12"))
    return Obtained(subject, kernel if builds else None)


def test_only_a_series_is_compared_by_machine_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "find_changes", lambda *_: CHANGES)
    names = ("series", "config", "release", "broken")
    built = (replace(CANDIDATE, name=name) for name in names[:3])
    kernels = Kernels(REFERENCE, (*built, failed()))
    found = [obtained(), obtained(), obtained("other"), obtained(release="7.2"), obtained(builds=False)]
    seen = with_changes(kernels, found, cast(Cache, None))
    assert [one.changes for one in seen.candidates] == [CHANGES, None, None, None]
    assert capsys.readouterr().err.splitlines() == [
        "==> series: its machine code differs in 3 functions: kvm:mmu_spte_update, kvm_amd:setup, "
        "vmlinux:new_helper"
    ]


def test_what_differs_is_told_in_a_line() -> None:
    assert describe(Changes()) == "its machine code is that of the reference"
    many = Changes(tuple(replace(SPTE, name=f"f{number}") for number in range(10)), ("kvm:ops",))
    assert describe(many).endswith("kvm:f6, kvm:f7 and 2 more; data: kvm:ops")
