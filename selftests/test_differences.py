# SPDX-License-Identifier: GPL-2.0-or-later
"""What differs between two kernels beside the change under test: found, reported, and deciding nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from samples import CANDIDATE, L2_KERNEL, REFERENCE, SHADOW, TDP, A, B, compare, make_round, plan_of

from guestloop.compare import Difference, Realm
from guestloop.compare.differences import differences
from guestloop.kernels.options import pick, telling_options
from guestloop.report import describe, render_text
from guestloop.report.verdict_json import validate
from guestloop.results.cells import Cell
from guestloop.results.plan import Plan
from guestloop.results.records import L2_BUILD_ID, Outcome, Round

SLOW = replace(REFERENCE, options={"HZ": "100", "PREEMPT_NONE": "y"})
FAST = replace(CANDIDATE, options={"HZ": "250", "LRU_GEN": "y"})


def facts(kernel: str, cell: Cell = SHADOW, /, **more: object) -> Round:
    """A round that read these facts back; ``__`` stands for a dot."""
    outcome = more.pop("outcome", Outcome.MEASURED)
    seen = {name.replace("__", "."): str(value) for name, value in more.items()}
    facts = {L2_BUILD_ID: L2_KERNEL.build_id, **seen}
    return make_round(cell, kernel, 1, 420, outcome=outcome, facts=facts)


def seen(plan: Plan, *rounds: Round) -> list[tuple[Realm, str, dict[str, str]]]:
    return [(one.realm, one.name, dict(one.values)) for one in differences(plan, rounds)]


def test_options_that_only_one_has_differ_too() -> None:
    assert seen(plan_of(SLOW, FAST)) == [
        (Realm.CONFIGURATION, "HZ", {A: "100", B: "250"}),
        (Realm.CONFIGURATION, "LRU_GEN", {A: "-", B: "y"}),
        (Realm.CONFIGURATION, "PREEMPT_NONE", {A: "y", B: "-"}),
    ]


def test_of_an_unknown_configuration_nothing_is_said() -> None:
    assert seen(plan_of(SLOW, CANDIDATE)) == []


def test_what_rounds_read_back_is_compared_by_realm() -> None:
    one = facts(A, boot__preemption="none", kvm__eager_page_split="Y", kvm__build_id="aa", pace="1.0")
    other = facts(B, boot__preemption="lazy", kvm__gmet="Y", kvm__build_id="bb", pace="2.0")
    assert seen(plan_of(REFERENCE, CANDIDATE), one, other) == [
        (Realm.BOOT, "boot.preemption", {A: "none", B: "lazy"}),
        (Realm.KVM, "kvm.eager_page_split", {A: "Y", B: "-"}),
        (Realm.KVM, "kvm.gmet", {A: "-", B: "Y"}),
    ]


def test_cells_may_want_different_settings() -> None:
    plan = plan_of(REFERENCE, CANDIDATE, cells=(SHADOW, TDP))
    rounds = [
        facts(kernel, cell, settings__thp__enabled=value)
        for kernel in (A, B)
        for cell, value in ((SHADOW, "never"), (TDP, "madvise"))
    ]
    assert seen(plan, *rounds) == []
    assert seen(plan, *rounds[:-1]) == [], "a cell that only one of them has is left out"
    broken_off = facts(B, TDP, settings__thp__enabled="never", outcome=Outcome.INVALID)
    assert seen(plan, *rounds[:-1], broken_off) == []
    rounds[-1] = facts(B, TDP, settings__thp__enabled="not in this kernel")
    (found,) = seen(plan, *rounds)
    assert found[2] == {A: "madvise or never", B: "never or not in this kernel"}


def test_a_report_has_a_paragraph_for_each_realm() -> None:
    plan = plan_of(SLOW, FAST, rounds=1)
    rounds = [facts(A, kvm__tdp_mmu="Y"), facts(B, kvm__tdp_mmu="N")]
    verdict = compare(plan, rounds)
    lines = render_text(plan, verdict).splitlines()
    assert "differ in options of the configuration (A/B): HZ 100/250, LRU_GEN -/y, PREEMPT_NONE y/-" in lines
    assert "differ in parameters of KVM (A/B): kvm.tdp_mmu Y/N" in lines
    data = describe(plan, verdict)
    validate(data)
    assert data["differences"][0] == {"realm": "configuration", "name": "HZ", "values": {A: "100", B: "250"}}


def test_kernels_alike_need_no_paragraph() -> None:
    plan = plan_of(SLOW, replace(FAST, options=SLOW.options), rounds=1)
    verdict = compare(plan, [facts(A, kvm__tdp_mmu="Y"), facts(B, kvm__tdp_mmu="Y")])
    assert verdict.differences == () and "differ in" not in render_text(plan, verdict)


def test_differences_decide_nothing() -> None:
    rounds = [facts(A), facts(B)]
    overall = compare(plan_of(REFERENCE, CANDIDATE, rounds=1), rounds).overall
    verdict = compare(plan_of(SLOW, FAST, rounds=1), rounds)
    assert verdict.overall is overall and isinstance(verdict.differences[0], Difference)


def test_only_telling_options_are_picked() -> None:
    text = (
        "CONFIG_HZ=250\nCONFIG_HZ_250=y\n# CONFIG_HZ_100 is not set\nCONFIG_KVM_AMD=m\nCONFIG_USB=m\n"
        'CONFIG_LSM="x"\nCONFIG_TRANSPARENT_HUGEPAGE_ALWAYS=y\nCONFIG_SND_HDA=m\nCONFIG_DEBUG_VM=y\n'
    )
    names = ["DEBUG_VM", "HZ", "HZ_250", "KVM_AMD", "TRANSPARENT_HUGEPAGE_ALWAYS"]
    assert list(pick(text)) == names and pick(text)["KVM_AMD"] == "m"


def test_without_the_file_no_option_is_known(tmp_path: Path) -> None:
    assert telling_options(tmp_path / "config") == {}
    (tmp_path / "config").write_text("CONFIG_HZ=100\n")
    assert telling_options(tmp_path / "config") == {"HZ": "100"}
