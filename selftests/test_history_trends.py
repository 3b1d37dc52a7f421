# SPDX-License-Identifier: GPL-2.0-or-later
"""What is claimed of neighbours in a series: paths in workloads, and the verdict of a run of both."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from histories import PATCHED, WAY, package, plan_for, read_run, releases, rounds_for, write_run
from samples import SHADOW, TDP, Steady
from test_inference import Rounds

from guestloop.compare import Calibration, Change, Status, Weight
from guestloop.compare.statements import TOTAL
from guestloop.history.chart import BOTTOM, TOP, draw, say
from guestloop.history.neighbours import neighbours_of
from guestloop.history.pairs import of_rates, paired
from guestloop.history.pooled import pool, pool_scatter
from guestloop.history.series import Series, series_of
from guestloop.history.trends import Trend, trends_of
from guestloop.history.workloads import workloads_of
from guestloop.results.cells import Cell, Mmu
from guestloop.results.findings import Finding, FindingKind
from guestloop.results.load import Load
from guestloop.results.records import Correctness, Outcome, Round
from guestloop.stats.distributions import normal_quantile
from guestloop.stats.inference import p_value, rate_limits
from guestloop.stats.samples import Sample, Scatter

A, B, C = "6.1.158-1", "6.12.117-1", "7.2.13-1"
OWN = Cell("asyncpf", Mmu.SHADOW, {"load": "read-own"})
READY = "async_page_ready"


def series(*outs: Path) -> Series:
    (one,) = series_of([read_run(out) for out in outs])
    return one


def trend(found: Sequence[Trend], path: str, mmu: Mmu = Mmu.SHADOW) -> Trend:
    (one,) = (each for each in found if (each.path, each.workload.mmu) == (path, mmu))
    return one


# --- several cells as one --------------------------------------------------------------------------


def test_the_rate_of_several_cells_is_the_mean_of_their_rates() -> None:
    pooled = pool([Sample((100, 120), (1000.0, 1200.0)), Sample((30,), (100.0,))])
    assert pooled.rate == pytest.approx((0.1 + 0.3) / 2)
    assert pool([Sample((7,), (70.0,))]) == Sample((7,), (70.0,)), "and one cell stays what it is"
    assert pool([Sample((0,), (10.0,)), Sample((0,), (10.0,))]) == Sample((0,), (20.0,))


def test_more_work_in_one_cell_moves_nothing() -> None:
    """All requests over all work would be 0.11 and 0.19."""
    before = pool([Sample((100,), (1000.0,)), Sample((20,), (100.0,))])
    after = pool([Sample((100,), (1000.0,)), Sample((2000,), (10000.0,))])
    assert before.rate == after.rate == pytest.approx(0.15)


def test_a_pooled_count_is_as_uncertain_as_the_mean() -> None:
    """Of Poisson counts: relative variances of a mean add up by the squares of their parts."""
    pooled = pool([Sample((100,), (1000.0,)), Sample((100,), (100.0,))])
    parts = (0.1 / 1.1, 1.0 / 1.1)
    assert 1 / pooled.total == pytest.approx(sum(part**2 / 100 for part in parts), rel=0.01)


def test_scatter_of_a_pool_is_less_the_more_cells_are_alike() -> None:
    alike = [Sample((100, 100), (1000.0, 1000.0))] * 4
    one = Scatter(0.04, 7)
    assert pool_scatter([alike], [one] * 4).cv2 == pytest.approx(0.04 / 4 / 2)
    assert pool_scatter([alike, alike], [one] * 4).df == 7, "degrees of freedom do not add up"
    lone = [*alike[:3], Sample((10**6, 10**6), (1000.0, 1000.0))]
    assert pool_scatter([lone], [one] * 4).cv2 == pytest.approx(0.04 / 2, rel=0.01), "nearly all of the mean"
    nothing = [Sample((0,), (10.0,))] * 2
    assert pool_scatter([nothing], [one] * 2).cv2 == pytest.approx(0.04 / 2)


MEANS = (3.0, 40.0, 500.0, 4000.0)
CV = 0.1


def draws(seed: int, number: int) -> list[tuple[list[Sample], list[Sample]]]:
    """So many pairs of kernels that do not differ: two rounds of each in four cells."""
    rounds = Rounds(seed)
    made = [
        [[rounds.sample(2, mean, CV) for mean in MEANS] for _ in range(2)] for _ in range(number)
    ]  # fmt: skip
    return [(before, after) for before, after in made]


def test_kernels_that_do_not_differ_are_told_apart_no_more_often_than_is_promised() -> None:
    scatters = [Scatter(CV**2, 20)] * len(MEANS)
    drawn = [
        p_value(pool(before), pool(after), pool_scatter([before, after], scatters))
        for before, after in draws(1, 1500)
    ]
    for level in (0.1, 0.02):
        share = sum(p < level for p in drawn) / len(drawn)
        noise = normal_quantile(0.01) * (level * (1 - level) / len(drawn)) ** 0.5
        assert 0.3 * level < share < level + noise


def test_limits_of_a_pooled_rate_are_passed_as_often_as_is_said() -> None:
    scatters, truth = [Scatter(CV**2, 20)] * len(MEANS), sum(MEANS) / len(MEANS)
    limits = [
        rate_limits(pool(one), pool_scatter([one], scatters), 0.1) for pair in draws(2, 500) for one in pair
    ]
    for passed in (sum(low > truth for low, _ in limits), sum(high < truth for _, high in limits)):
        assert 0.01 < passed / len(limits) < 0.07


# --- workloads -------------------------------------------------------------------------------------


def test_a_workload_is_a_test_in_one_mode_with_one_unit_of_work(tmp_path: Path) -> None:
    cells = (SHADOW, TDP, OWN, WAY)
    found = workloads_of(series(releases(tmp_path / "r", {A: (9,), B: (9,)}, cells)))
    assert [(one.test, one.mmu, one.unit, len(one.cells)) for one in found] == [
        ("asyncpf", Mmu.TDP, "page visited", 1),
        ("asyncpf", Mmu.SHADOW, "page visited", 2),
        ("migration", Mmu.TDP, "page visited", 1),
    ]


def test_cells_that_some_kernel_lacks_are_left_out_and_named(tmp_path: Path) -> None:
    kernels = [package(A), package(B)]
    rounds = rounds_for(kernels, [SHADOW, OWN], [(5,), (5,)])
    rounds[1] = replace(rounds[1], outcome=Outcome.SKIPPED, findings=(Finding(FindingKind.LACKING, "no"),))
    out = write_run(tmp_path / "r", plan_for(kernels, [SHADOW, OWN], "r", 1), rounds)
    (found,) = workloads_of(series(out))
    assert (found.cells, found.left_out) == ((OWN,), (SHADOW,))


def test_a_kernel_with_few_cells_takes_none_from_the_others(tmp_path: Path) -> None:
    third = Cell("asyncpf", Mmu.SHADOW, {"load": "write-own"})
    full = releases(tmp_path / "full", {A: (9,), B: (9,)}, (SHADOW, OWN, third))
    short = releases(tmp_path / "short", {B: (9,), C: (9,)}, (SHADOW,))
    (found,) = workloads_of(series(full, short))
    assert [one.label for one in found.kernels] == [A, B] and len(found.cells) == 3


def test_work_that_kernels_count_in_two_units_is_no_workload(tmp_path: Path) -> None:
    kernels = [package(A), package(B)]
    rounds = rounds_for(kernels, [SHADOW], [(5,), (5,)])
    rounds[1] = replace(rounds[1], work={"migrations": 3}, work_unit="migrations")
    out = write_run(tmp_path / "r", plan_for(kernels, [SHADOW], "r", 1), rounds)
    assert workloads_of(series(out)) == ()
    assert trends_of(series(out), Steady()) == ()


# --- trends ----------------------------------------------------------------------------------------


def test_a_step_is_where_the_verdict_would_claim_one(tmp_path: Path) -> None:
    one = series(releases(tmp_path / "r", {A: (2000, 2010), B: (2020, 2000), C: (700, 690)}, (SHADOW, OWN)))
    found = trends_of(one, Steady())
    ready = trend(found, READY)
    assert [step.change for step in ready.steps] == [Change.SAME, Change.FEWER]
    assert [(step.before.label, step.after.label) for step in ready.steps] == [(A, B), (B, C)]
    assert (ready.weight, ready.cells, ready.changed) == (Weight.JUDGED, (SHADOW, OWN), True)
    rates = [point.rate.sample.rate for point in ready.points]
    assert rates == pytest.approx([2005 / 8192, 2010 / 8192, 695 / 8192])
    for point in ready.points:
        assert point.rate.limits[0] < point.rate.sample.rate < point.rate.limits[1]
        assert point.rounds == 4
    total = trend(found, TOTAL)
    assert total.steps[1].change is Change.FEWER and total.weight is Weight.JUDGED
    assert not trend(found, "mmu_notifier_unmap").changed


def test_the_error_of_a_kernel_is_divided_among_all_its_statements_and_looks(tmp_path: Path) -> None:
    one = series(releases(tmp_path / "r", {A: (9, 9), B: (9, 9)}, (SHADOW, TDP), looks=(1, 2)))
    found = trends_of(one, Steady())
    alphas = [step.judgement.alpha for each in found for step in each.steps if step.judgement]
    assert len(alphas) == 6 and sum(alphas) * 2 == pytest.approx(0.01)


def test_several_cells_tell_what_one_cannot(tmp_path: Path) -> None:
    """A change of 14 % in rounds that scatter by 4 %."""
    flushes = {A: (2000,), B: (2280,)}
    cells = [Cell("asyncpf", Mmu.SHADOW, {"load": f"load-{number}"}) for number in range(6)]
    few, many = (
        trends_of(series(releases(tmp_path / f"r{len(own)}", flushes, own)), Steady())
        for own in (cells[:1], cells)
    )
    assert trend(few, READY).steps[0].change is Change.OPEN
    assert trend(many, READY).steps[0].change is Change.MORE


def test_what_the_test_itself_does_is_not_counted(tmp_path: Path) -> None:
    kernels = [package(A), package(B)]
    rounds = rounds_for(kernels, [SHADOW, OWN], [(500,), (500,)], incidental=("mmu_notifier_unmap",))
    rounds = [replace(item, incidental=()) if item.cell == OWN else item for item in rounds]
    out = write_run(tmp_path / "r", plan_for(kernels, [SHADOW, OWN], "r", 1), rounds)
    found = trends_of(series(out), Steady())
    assert trend(found, "mmu_notifier_unmap").cells == (OWN,)
    assert trend(found, TOTAL).points[0].rate.sample.rate == pytest.approx((500 + 600) / 2 / 8192)


def test_a_kernel_that_lacks_a_path_is_marked(tmp_path: Path) -> None:
    kernels = [package(A), package(B)]
    rounds = rounds_for(kernels, [SHADOW], [(500,), (0,)])
    rounds[1] = replace(rounds[1], absent_paths=(READY,))
    out = write_run(tmp_path / "r", plan_for(kernels, [SHADOW], "r", 1), rounds)
    points = trend(trends_of(series(out), Steady()), READY).points
    assert [point.absent for point in points] == [False, True]
    assert say(points[1]) == f"{B}: has no such path"


# --- partners --------------------------------------------------------------------------------------


def loaded(item: Round, slowdown: float) -> Round:
    return replace(item, load=Load(10.0, 10.0 * (slowdown - 1), 10.0, 0.0, 0.5, 0.0))


def test_rounds_of_one_run_are_partners_and_the_others_in_their_order() -> None:
    kernels = [package(A), package(B)]
    before, after = (rounds_for([one], [SHADOW], [(1, 2, 3, 4)]) for one in kernels)
    before = [replace(item, round=number) for item, number in zip(before, (1, 2, 5, 6), strict=True)]
    after = [replace(item, round=number) for item, number in zip(after, (2, 7, 8, 9), strict=True)]
    after[2] = replace(after[2], repeats=7)
    one, other = paired(before, after)
    assert [item.round for item in one] == [2, 1, 3, 4] and [item.round for item in other] == [1, 2, 3, 4]
    assert [item.repeats for item in other] == [0, 0, 2, 0]
    assert [item.paths[READY] for item in one] == [1, 2, 3, 4], "and nothing else is changed"


def test_kernels_of_two_runs_are_compared_under_like_load_only(tmp_path: Path) -> None:
    def run(name: str, version: str, slowdown: float, flushes: int) -> Path:
        kernels = [package(version), package(version, name="twin", sha256="0" * 64, series=(PATCHED,))]
        rounds = rounds_for(kernels, [SHADOW], [(flushes,), (flushes,)])
        loads = [loaded(item, slowdown) for item in rounds]
        return write_run(tmp_path / name, plan_for(kernels, [SHADOW], name, 1), loads)

    idle, busy = run("idle", A, 1.0, 1000), run("busy", B, 2.0, 1500)
    apart = series(idle, busy)
    (step,) = trend(trends_of(apart, Steady()), READY).steps
    assert step.judgement is None and step.change is Change.OPEN
    (neighbours,) = neighbours_of(apart, Steady())
    assert neighbours.verdict and "the load of the machine changed" in neighbours.verdict.cells[0].reason
    alike = series(idle, run("idle2", B, 1.1, 1500))
    (step,) = trend(trends_of(alike, Steady()), READY).steps
    assert step.change is Change.MORE


def test_nothing_is_compared_where_one_kernel_gives_no_rate() -> None:
    before, after = (rounds_for([package(one)], [SHADOW], [(1, 2)]) for one in (A, B))
    lost = [replace(item, outcome=Outcome.INVALID) for item in after]
    assert of_rates((tuple(before), tuple(lost))) == ((), ())


# --- the verdict on neighbours ---------------------------------------------------------------------


def test_neighbours_have_the_verdict_that_a_run_of_both_would_have(tmp_path: Path) -> None:
    kernels = [package(one) for one in (A, B, C)]
    rounds = rounds_for(kernels, [SHADOW, TDP], [(2000,) * 2, (2000,) * 2, (2000,) * 2])
    lost = (Finding(FindingKind.CONTENTS, "34 pages were lost"),)
    broken = [
        replace(item, findings=lost, correctness=Correctness.FAIL)
        if item.kernel == B and item.cell == TDP
        else item
        for item in rounds
    ]
    out = write_run(tmp_path / "r", plan_for(kernels, [SHADOW, TDP], "r"), broken, {C: ("WARNING: late",)})
    first, second = neighbours_of(series(out), Steady())
    assert first.verdict and second.verdict
    statuses = [{cell.cell.id: cell.status for cell in one.cells} for one in (first.verdict, second.verdict)]
    assert statuses[0] == {SHADOW.id: Status.SAME, TDP.id: Status.BROKEN}
    assert statuses[1] == {SHADOW.id: Status.SAME, TDP.id: Status.FIXED}
    assert first.verdict.cells[1].reason.startswith(f"wrong on {B} in 2 of 2 rounds, right on {A}: 34 pages")
    assert second.verdict.kernels[C].late == ("WARNING: late",)


def test_kernels_without_a_common_cell_have_no_verdict(tmp_path: Path) -> None:
    first = releases(tmp_path / "a", {A: (1,), B: (1,)}, (SHADOW,))
    other = releases(tmp_path / "b", {C: (1,), "7.3-1": (1,)}, (TDP,))
    found = neighbours_of(series(first, other), Steady())
    assert [one.verdict is None for one in found] == [False, True, False]


def test_many_joined_runs_are_one_comparison(tmp_path: Path) -> None:
    outs = [releases(tmp_path / str(number), {A: (9,), B: (9,)}, (SHADOW,)) for number in range(5)]
    (found,) = neighbours_of(series(*outs), Calibration())
    assert found.verdict and len(found.verdict.cells[0].rounds) == 10


# --- geometry --------------------------------------------------------------------------------------


def drawn(tmp_path: Path, flushes: Mapping[str, Sequence[int]], path: str = READY) -> tuple[Series, Trend]:
    one = series(releases(tmp_path / "r", flushes, (SHADOW, OWN)))
    return one, trend(trends_of(one, Steady()), path)


def test_kernels_stand_in_their_order_and_rates_in_the_plot(tmp_path: Path) -> None:
    one, ready = drawn(tmp_path, {A: (2000, 2000), B: (2000, 2000), C: (0, 0)})
    chart = draw(ready, one.kernels)
    places = [float(mark.x.rstrip("%")) for mark in chart.marks]
    assert places == sorted(places) and places[0] > 0 and places[-1] < 100
    for mark in chart.marks:
        assert TOP <= float(mark.high) <= float(mark.y) <= float(mark.low) <= BOTTOM
    assert [mark.value for mark in chart.marks] == ["0.244", "0.244", "0"]
    assert [(segment.kind, segment.word) for segment in chart.segments] == [("none", ""), ("fewer", "▼ to 0")]
    assert [name.label for name in chart.names] == [A, B, C]
    assert f"{A}: 0.244 (" in chart.label and f"fewer from {B} to {C}, to 0" in chart.label


def test_of_many_kernels_some_have_a_name_and_those_beside_a_step_a_value(tmp_path: Path) -> None:
    flushes = {f"6.{number}-1": (2000 if number < 20 else 900,) for number in range(1, 31)}
    one, ready = drawn(tmp_path, flushes)
    chart = draw(ready, one.kernels)
    assert len(chart.marks) == 30 and 5 <= len(chart.names) <= 8 and chart.names[-1].label == "6.30-1"
    assert [mark.title.split(":")[0] for mark in chart.marks if mark.value] == ["6.19-1", "6.20-1", "6.30-1"]
    assert [segment.word for segment in chart.segments if segment.word] == ["▼ \N{MULTIPLICATION SIGN}0.45"]


@pytest.mark.parametrize("flushes", [(0, 0), (1, 10**9), (10**9, 1)])
def test_any_rates_can_be_drawn(tmp_path: Path, flushes: tuple[int, int]) -> None:
    one, ready = drawn(tmp_path, {A: flushes[:1], B: flushes[1:]})
    for mark in draw(ready, one.kernels).marks:
        assert TOP - 0.1 <= float(mark.high) <= float(mark.y) <= BOTTOM + 0.1


def test_random_series_never_fail(tmp_path: Path) -> None:
    rng = random.Random(3)
    versions = [f"6.{number}-1" for number in range(4)]
    flushes = {one: tuple(rng.choice((0, 1, 50, 4000)) for _ in range(2)) for one in versions}
    one = series(releases(tmp_path / "r", flushes, (SHADOW, TDP, OWN, WAY)))
    for each in trends_of(one, Calibration()):
        assert len(draw(each, one.kernels).segments) == 3
