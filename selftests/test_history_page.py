# SPDX-License-Identifier: GPL-2.0-or-later
"""The page of a history: what is on it, and that it is harmless."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from histories import PATCHED, package, plan_for, read_run, rounds_for, write_run
from pages import MEAN, QUOTED, WILD
from samples import SHADOW, TDP, Steady
from test_page import Page, assert_loads_and_runs_nothing, assert_well_formed

from guestloop.compare import Calibration
from guestloop.history.page import MOST_RUNS, render_history
from guestloop.history.runs import Run
from guestloop.results.cells import Cell, Mmu
from guestloop.results.findings import Finding, FindingKind
from guestloop.results.plan import MadeBy
from guestloop.results.records import Correctness

A, B, C = "6.1.158-1", "6.12.117-1", "7.2.13-1"
OWN = Cell("asyncpf", Mmu.SHADOW, {"load": "read-own"})
CELLS = (SHADOW, OWN, TDP)
TIMES = "\N{MULTIPLICATION SIGN}"
LOST = Finding(FindingKind.CONTENTS, "34 pages were lost")


def page_of(*runs: Run) -> Page:
    return Page(render_history(runs, lambda _: Steady()))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("history")


@pytest.fixture(scope="module")
def three(base: Path) -> Run:
    """The second kernel loses pages in one cell, the third asks for a third of the flushes."""
    kernels = [package(one) for one in (A, B, C)]
    flushes = [(2000, 2010), (2005, 2000), (700, 690)]
    rounds = [
        replace(item, findings=(LOST,), correctness=Correctness.FAIL)
        if (item.kernel, item.cell) == (B, TDP)
        else item
        for item in rounds_for(kernels, CELLS, flushes)
    ]
    return read_run(write_run(base / "three", plan_for(kernels, CELLS, "three"), rounds, {C: ("WARNING",)}))


@pytest.fixture(scope="module")
def hostile(base: Path) -> Run:
    """Names, releases and complaints that want to be more than text."""
    kernels = [
        package(A, name=MEAN, release=WILD),
        package(B, name=QUOTED, release=QUOTED, base="</style>"),
        package(C, name=WILD, series=(MEAN,)),
    ]
    rounds = rounds_for(kernels, [SHADOW], [(5,), (9,), (9,)])
    odd = {"other:</svg><script>": 4, QUOTED: 3, "zap": 5}
    finding = Finding(FindingKind.L1_PANICKED, f"{MEAN}{WILD}")
    rounds = [
        replace(rounds[0], paths=odd, counters={"remote_tlb_flush_requests": 12}),
        replace(rounds[1], correctness=Correctness.FAIL, findings=(finding,)),
        rounds[2],
    ]
    made = MadeBy(MEAN, QUOTED)
    plan = plan_for(kernels, [SHADOW], QUOTED, 1, made_by=made, host={"cpu": WILD, "qemu": MEAN})
    return read_run(write_run(base / "hostile", plan, rounds, {QUOTED: (WILD, MEAN)}))


@pytest.fixture(scope="module")
def pages(three: Run, hostile: Run, base: Path) -> dict[str, Page]:
    other = replace(three, id="other", accelerator="kvm")
    lone = [package(A), package(A, name="patched", series=(PATCHED,), sha256="b" * 64)]
    plan = plan_for(lone, [SHADOW], "lone", 1)
    patched = write_run(base / "lone", plan, rounds_for(lone, [SHADOW], [(1,), (2,)]))
    return {
        "three": page_of(three),
        "two settings": page_of(three, other),
        "hostile": page_of(hostile, three),
        "one kernel": page_of(read_run(patched)),
        "patched only": page_of(replace(read_run(patched), kernels=read_run(patched).kernels[1:])),
        "no rounds": page_of(replace(three, rounds=())),
    }


NAMES = ("three", "two settings", "hostile", "one kernel", "patched only", "no rounds")
every_page = pytest.mark.parametrize("name", NAMES)


@every_page
def test_it_is_well_formed_and_loads_and_runs_nothing(name: str, pages: dict[str, Page]) -> None:
    page = pages[name]
    assert_well_formed(page)
    assert_loads_and_runs_nothing(page)
    ids = [element.attributes.get("id") for element in page.elements]
    for link in page.all("a"):
        assert (link.attributes["href"] or "").removeprefix("#") in ids


def test_what_would_act_is_shown(pages: dict[str, Page]) -> None:
    text = pages["hostile"].text
    for shown in (
        "other:</svg><script>",
        "onmouseover='alert(2)'",
        "\\x00",
        "\\u202e",
        "{{ 7 * 7 }}",
    ):
        assert shown in text, shown
    assert not set("\x1b\x00\u202e") & set(pages["hostile"].source)


def test_the_top_says_what_has_to_be_known(pages: dict[str, Page]) -> None:
    page = pages["three"]
    (heading,) = page.all("h1")
    assert heading.text == f"3 kernels, {A} to {C}"
    assert f"Something was wrong on {B}. A regression against the kernel before: {B} (1 cell)." in page.text
    assert "Certain changes of a call path in a workload: 4 to fewer requests, 0 to more." in page.text
    assert len(list(page.all("div", **{"class": "verdict v-regression"}))) == 1


def test_each_kernel_is_told_from_the_one_before_the_youngest_first(pages: dict[str, Page]) -> None:
    (changes,) = pages["three"].all("ol", **{"class": "changes"})
    first, second = " ".join(changes.text.split()).split(f"{A} → {B}")
    assert first.startswith(f"{B} → {C}")
    assert f"Something was wrong on {B} in 1 cell, of 3." in first
    assert "After its last round the L1 said: WARNING" in first
    assert "fixed asyncpf/tdp/read-shared wrong on" in first
    assert (
        "asyncpf, shadow" in first
        and f"0.244 → 0.085 per page visited, {TIMES}0.347 ({TIMES}0.306 to" in first
    )
    assert "✕ 1 broken" in second and "No change of a path in a workload is certain." in second


def test_every_path_that_matters_is_drawn_in_each_mode_and_the_others_are_named(
    pages: dict[str, Page],
) -> None:
    page = pages["three"]
    charts = [element for element in page.all("svg") if "trend" in (element.attributes.get("class") or "")]
    said = [(element.attributes["aria-label"] or "").split(":")[0] for element in charts]
    assert said == [
        f"{path}, asyncpf {mode}, per page visited"
        for path in ("all flush requests", "async_page_ready", "mmu_notifier_unmap")
        for mode in ("tdp", "shadow")
    ]
    assert "tdp: 1 cell; shadow: 2 cells." in page.text


def test_paths_that_are_not_drawn_are_named(base: Path) -> None:
    kernels = [package(A), package(B)]
    paths = {"mmu_notifier_unmap": 9000, "zap": 20}
    more = {"paths": paths, "judged": ("async_page_ready",)}
    out = write_run(
        base / "quiet",
        plan_for(kernels, [SHADOW], "quiet", 1),
        rounds_for(kernels, [SHADOW], [(0,), (0,)], **more),
    )
    text = page_of(read_run(out)).text
    assert "Fewer than 2 % of all, and without a certain change: zap (shadow)." in text
    assert "Without a request on any kernel: async_page_ready (shadow)." in text


def test_every_cell_has_its_rate_and_its_status_against_the_kernel_before(pages: dict[str, Page]) -> None:
    rows = [" ".join(row.text.split()) for row in pages["three"].all("tr")]
    (tdp,) = (row for row in rows if row.startswith("tdp, read-shared"))
    assert tdp == "tdp, read-shared per page visited0.2570.257 ✕ broken0.097 ✓ fixed"
    assert sum(row.startswith(("tdp, ", "shadow, ")) for row in rows) == len(CELLS)


def test_settings_are_apart_and_each_is_said(pages: dict[str, Page], three: Run) -> None:
    page = pages["two settings"]
    articles = list(page.all("article"))
    assert len(articles) == 2 and articles[0].attributes["aria-labelledby"] == three.setting.id
    assert str(three.setting) in page.text and "kvm; L2 6.12.117" in page.text


def test_the_setting_with_most_kernels_comes_first(three: Run) -> None:
    lone = replace(three, id="lone", accelerator="kvm", kernels=three.kernels[:1])
    (heading,) = page_of(lone, three).all("h1")
    assert heading.text == f"3 kernels, {A} to {C}"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("one kernel", "There is no other kernel to compare it with."),
        ("one kernel", "Kernels with patches on top are not shown here, but in their own results: patched."),
        ("patched only", "No kernel without patches"),
        ("no rounds", "Nothing was measured."),
        ("no rounds", "They have no cell in common."),
    ],
)
def test_little_is_said_as_it_is(name: str, said: str, pages: dict[str, Page]) -> None:
    assert said in pages[name].text


def test_where_it_came_from(pages: dict[str, Page]) -> None:
    text = pages["three"].text
    row = (
        A,
        "6.1.158+deb13-cloud-amd64",
        "linux-image-6.1.158+deb13-cloud-amd64 (sid)",
        "3",
        "6",
        "2026-04-08",
    )
    assert "".join(row) in text
    assert "Made by scripts/history from 1 result;" in text


def repeated(run: Run, number: int) -> Sequence[Run]:
    return [replace(run, id=str(index)) for index in range(number)]


def test_many_runs_are_cut_and_that_is_said(three: Run) -> None:
    assert "and 2 older ones." in page_of(*repeated(three, MOST_RUNS + 2)).text


def test_many_kernels_are_a_page_of_a_size_that_loads(three: Run) -> None:
    """As many as a kernel a week in a year."""
    kernels = [
        replace(three.kernels[0], name=f"k{number}", sha256=f"{number:064}", release=f"6.{number}")
        for number in range(52)
    ]
    rounds = [replace(item, kernel=one.name) for one in kernels for item in three.rounds if item.kernel == A]
    source = render_history(
        [replace(three, kernels=tuple(kernels), rounds=tuple(rounds))], lambda _: Calibration()
    )
    assert len(source) < 300_000
