# SPDX-License-Identifier: GPL-2.0-or-later
"""What a series is for: whether it was seen can be read in the file, the report and the answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from samples import CANDIDATE, REFERENCE, SHADOW, TDP, A, B, compare, failed, plan_of, rounds_of

from guestloop.compare import Met, Verdict, soonest_shown
from guestloop.report import describe, render_text
from guestloop.report.verdict_json import validate
from guestloop.results.cells import Mmu
from guestloop.results.plan import Plan, Reach, read_plan, write_plan
from guestloop.results.provenance import Expectation, Trend

DIRECT = replace(SHADOW, mmu=Mmu.DIRECT)
READY = Expectation("async_page_ready", Trend.FEWER)


def measured(expected: Expectation, before: int, after: int) -> tuple[Plan, Verdict]:
    """A run of two cells, in one of which the path has these requests per 1000 events."""
    plan = plan_of(REFERENCE, replace(CANDIDATE, expect=(expected,)), cells=(TDP, SHADOW))
    quiet = rounds_of({A: (0, 0), B: (0, 0)}, TDP)
    return plan, compare(plan, quiet + rounds_of({A: (before,) * 2, B: (after,) * 2}, SHADOW))


@pytest.mark.parametrize(
    ("change", "before", "after", "met"),
    [
        (Trend.FEWER, 420, 0, Met.MET),
        (Trend.FEWER, 420, 425, Met.NOT_MET),
        (Trend.FEWER, 420, 900, Met.NOT_MET),
        (Trend.FEWER, 0, 0, Met.NOT_MEASURED),
        (Trend.MORE, 0, 420, Met.MET),
        (Trend.MORE, 0, 0, Met.NOT_MET),
    ],
)
def test_what_came_of_an_expectation(change: Trend, before: int, after: int, met: Met) -> None:
    plan, verdict = measured(Expectation(READY.path, change), before, after)
    (seen,) = verdict.kernels[B].expectations
    assert seen.met is met
    assert verdict.kernels[A].expectations == ()
    complaint = f"expected {change} on async_page_ready: {met.said}"
    assert (complaint in verdict.answer) == (met is not Met.MET)
    assert complaint in render_text(plan, verdict).replace("\n     ", " ")
    data = describe(plan, verdict)
    validate(data)
    (written,) = data["kernels"][B]["expectations"]
    assert (written["path"], written["change"], written["outcome"]) == (READY.path, change, met)
    seen_rates = [f"{count / 1000:.3f}" if count else "0" for count in (before, after)]
    rates = f"{SHADOW.id}: async_page_ready {' -> '.join(seen_rates)} per page-ready event"
    assert written["evidence"] == ("" if met is Met.NOT_MEASURED else rates) or before == after == 0


def test_a_path_that_no_cell_has_seen_was_not_measured() -> None:
    _, verdict = measured(Expectation("dirty_log", Trend.MORE), 420, 0)
    (seen,) = verdict.kernels[B].expectations
    assert (seen.met, seen.evidence) == (Met.NOT_MEASURED, "")
    assert "expected more on dirty_log: not measured" in verdict.answer


def test_a_kernel_that_could_not_be_built_met_nothing() -> None:
    verdict = compare(plan_of(REFERENCE, replace(failed(), expect=(READY,))), [])
    assert [one.met for one in verdict.kernels["broken"].expectations] == [Met.NOT_MEASURED]


def test_of_a_reference_nothing_is_expected() -> None:
    """It may be a patched kernel whose file says what its own series is for."""
    verdict = compare(plan_of(replace(REFERENCE, expect=(READY,)), CANDIDATE), rounds_of({A: (1,), B: (1,)}))
    assert verdict.kernels[A].expectations == () and "expected" not in verdict.answer


def test_an_expectation_decides_nothing() -> None:
    _, met = measured(READY, 420, 425)
    _, without = measured(replace(READY, path="zap"), 420, 425)
    assert met.overall is without.overall


def test_expectations_are_in_the_plan(tmp_path: Path) -> None:
    plan, _ = measured(READY, 420, 0)
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan


def hinted(expected: Expectation = READY, **counts: tuple[int, int]) -> dict[str, int]:
    """What is still to be shown, after a round of each kernel with these requests in 1000 events by mode."""
    cells = {"tdp": TDP, "direct": DIRECT, "shadow": SHADOW}
    reach = Reach(mmu=(Mmu.DIRECT, Mmu.SHADOW), because="only they call it")
    candidate = replace(CANDIDATE, expect=(expected,), reach=reach)
    rounds = [
        item
        for name, (before, after) in counts.items()
        for item in rounds_of({A: (before,), B: (after,)}, cells[name])
    ]
    plan = plan_of(REFERENCE, candidate, cells=tuple(cells[name] for name in counts))
    plan = replace(plan, looks=(1, 2, 4, 8))
    return soonest_shown(candidate, compare(plan, rounds).cells)


def test_a_hint_is_followed_where_the_mode_does_not_show_the_change() -> None:
    """Not in shadow mode, which shows it, nor with the TDP MMU, where the series says that it cannot act."""
    found = hinted(tdp=(400, 300), direct=(400, 340), shadow=(400, 0))
    assert list(found) == [DIRECT.id] and 1 < found[DIRECT.id] < 64
    assert hinted(direct=(400, 310))[DIRECT.id] < found[DIRECT.id], "a larger change is seen sooner"


def test_what_is_no_hint() -> None:
    assert hinted(direct=(400, 460)) == {}, "it points the other way"
    assert hinted(direct=(400, 395)) == {}, "below the floor"
    assert hinted(direct=(0, 0)) == {}
    assert hinted(Expectation("dirty_log", Trend.FEWER), direct=(400, 340)) == {}, "another path"
