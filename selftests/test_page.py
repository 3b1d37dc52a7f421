# SPDX-License-Identifier: GPL-2.0-or-later
"""The page of a report as text: what is on it, and that it is harmless. browser/ looks at it."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from pages import LOST, MEAN, QUOTED, SAMPLES, STACKS, many_rounds
from test_report import make_result

from guestloop.compare import KernelState, Overall, Status
from guestloop.counters import parse_stacks
from guestloop.report import Result, read_result, write_verdict
from guestloop.report.page import flame, plots, render_page, work
from guestloop.report.page.badges import SIGNS, Badge
from guestloop.report.page.matrix import anchor
from guestloop.results.records import Phase

VOID = {"meta", "link", "br", "wbr", "hr", "img", "input"}
IN_SVG = {"path", "line", "circle"}


@dataclass
class Element:
    tag: str
    attributes: Mapping[str, str | None]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """All elements of a page, each with the text that is in it; it notes what is not closed properly."""

    source: str
    elements: list[Element] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.source)
        self.close()
        self.wrong += [f"<{element.tag}> stays open" for element in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        if len(element.attributes) < len(attrs):
            self.wrong.append(f"an attribute twice: {attrs}")
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs)))
        if tag not in IN_SVG:
            self.wrong.append(f"<{tag}/>")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop().tag != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str, **attributes: str) -> Iterator[Element]:
        for element in self.elements:
            if element.tag == tag and attributes.items() <= element.attributes.items():
                yield element

    @property
    def text(self) -> str:
        (body,) = self.all("body")
        return " ".join(body.text.split())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("pages")
    return {name: make(base / name) for name, make in SAMPLES.items()}


@pytest.fixture(scope="module")
def pages(written: dict[str, Path]) -> dict[str, Page]:
    return {name: Page(path.read_text()) for name, path in written.items()}


every_sample = pytest.mark.parametrize("name", SAMPLES)


def assert_well_formed(page: Page) -> None:
    assert page.wrong == []
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))


def assert_loads_and_runs_nothing(page: Page) -> None:
    tags = {element.tag for element in page.elements}
    assert not tags & {"script", "img", "iframe", "object", "embed", "form", "base", "image", "use"}
    for element in page.elements:
        assert not [one for one in element.attributes if one.startswith("on") or one in ("style", "src")]
    (style,) = page.all("style")
    assert "url(" not in style.text and "@import" not in style.text
    digest = base64.b64encode(hashlib.sha256(style.text.encode()).digest()).decode()
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in (policy.attributes["content"] or "")


@every_sample
def test_a_page_is_well_formed(name: str, pages: dict[str, Page]) -> None:
    assert_well_formed(pages[name])


@every_sample
def test_a_page_loads_and_runs_nothing(name: str, pages: dict[str, Page]) -> None:
    assert_loads_and_runs_nothing(pages[name])


@every_sample
def test_links_resolve(name: str, written: dict[str, Path], pages: dict[str, Page]) -> None:
    ids = {element.attributes.get("id") for element in pages[name].elements}
    links = [element.attributes["href"] or "" for element in pages[name].all("a")]
    assert links
    for link in links:
        if link.startswith("#"):
            assert link[1:] in ids
        else:
            target = (written[name].parent / unquote(link)).resolve()
            assert target.is_file() and target.is_relative_to(written[name].parent.resolve())


@every_sample
def test_every_cell_is_in_the_matrix_with_its_word_and_below_with_its_reason(
    name: str, written: dict[str, Path], pages: dict[str, Page]
) -> None:
    result, page = read_result(written[name].parent), pages[name]
    shown = [
        (element.attributes["href"], " ".join(element.text.split()))
        for element in page.all("a")
        if "chip" in (element.attributes.get("class") or "")
    ]
    wanted = {
        (f"#{anchor(cell)}", f"{SIGNS[one.status]} {one.status.replace('-', ' ')}")
        for cell in result.cells
        for one in cell.candidates.values()
    }
    assert set(shown) == wanted
    if result.cells:
        assert len(shown) == sum(len(cell.candidates) for cell in result.cells)
    summaries = [" ".join(element.text.split()) for element in page.all("summary")]
    assert len(summaries) == len(result.cells)
    for cell, summary in zip(result.cells, summaries, strict=True):
        assert summary.startswith(f"{cell.id} {SIGNS[cell.status]} {cell.status.replace('-', ' ')}")


@every_sample
def test_the_answer_is_on_top(name: str, written: dict[str, Path], pages: dict[str, Page]) -> None:
    result = read_result(written[name].parent)
    (heading,) = pages[name].all("h1")
    assert heading.text.split(maxsplit=1)[1].lower() == result.verdict.replace("-", " ")


def test_what_is_open_and_what_is_not(pages: dict[str, Page]) -> None:
    cells = list(pages["statuses"].all("details"))
    shut = [cell.text for cell in cells if "open" not in cell.attributes]
    assert len(cells) == len(Status) and len(shut) == 3
    assert all(any(word in cell for word in ("= same", "cannot differ", "skipped")) for cell in shut)


def test_the_broken_cell_is_noted_with_its_reason(pages: dict[str, Page]) -> None:
    page = pages["broken"]
    (note,) = page.all("li", **{"class": "n-broken"})
    said = " ".join(note.text.split())
    assert said.startswith("✕ broken asyncpf/direct/read-own wrong on patched in 2 of 2 rounds, right on")
    assert LOST.split(":")[0] in said
    for text in (
        "contents · 34 pages were lost",
        "[PATCH] KVM: x86/mmu: Don't flush",
        "scripts/run 'my fix.patch'",
        "cd /src/guestloop",
        "mmu_spte_update",
        "The machine code of 1 function differs. Seen to run in 4 cells",
        "Flush requests by phase, per round",
        "correct in 2 of 2 rounds, B wrong in 2 of 2 rounds",
        "per page-ready event, judged",
    ):
        assert text in page.text, text


def test_three_kernels_are_columns(pages: dict[str, Page]) -> None:
    page = pages["three"]
    heads = [head.text for head in page.all("th", scope="col") if head.text in ("B", "C")]
    assert heads[:6] == ["B", "C", "B", "C", "B", "C"]
    figures = next(page.all("table", **{"class": "figures"})).text.split("rounds")[0].split("\n")
    assert "whatA unpatchedB patchedC patched-v2" in "".join(figures)


def test_an_interrupted_run_says_so(pages: dict[str, Page]) -> None:
    text = pages["interrupted"].text
    assert "The run was interrupted, with 4 rounds measured" in text
    assert "∅ invalid asyncpf/direct/read-shared unpatched: 0 of 2 rounds were written" in text


def test_a_run_without_a_cell_says_why(pages: dict[str, Page]) -> None:
    text = pages["not-built"].text
    assert "No cell was measured 2 cells were planned." in text
    assert "✕ not built typo does not build: arch/x86/kvm/mmu/mmu.c:6:3: error: 'x' undeclared" in text
    assert "6 | x = 1;" in text


def test_a_kernel_that_did_not_boot_is_noted_once(pages: dict[str, Page]) -> None:
    text = pages["not-booted"].text
    assert "✕ not booted patched L1 patched did not boot: it panicked" in text
    assert "console | [ 0.1] Oops" in text
    noted = [note.attributes["class"] for note in pages["not-booted"].all("li") if "class" in note.attributes]
    assert [name for name in noted if name and name.startswith("n-")] == ["n-not-booted"]


def test_hostile_text_is_shown_as_it_is(written: dict[str, Path], pages: dict[str, Page]) -> None:
    source, page = written["hostile"].read_text(), pages["hostile"]
    assert MEAN in page.text and QUOTED in page.text and "{{ 7 * 7 }}" in page.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", source)
    assert r"L1 red\x00 \u202eright to left <!-- --> ]]>" in page.text
    hrefs = [element.attributes["href"] or "" for element in page.all("a")]
    assert not any("passwd" in href or "javascript" in href or href.startswith("/") for href in hrefs)


def test_every_word_has_a_sign_of_its_own() -> None:
    assert {Badge(status).sign for status in Status} | {"✓"} and len({SIGNS[one] for one in Status}) == len(
        Status
    )
    for word in (*Overall, *(state for state in KernelState if state is not KernelState.MEASURED)):
        assert Badge(word).sign


def test_a_run_of_5000_rounds_makes_no_page_of_more_than_3_mb(tmp_path: Path) -> None:
    plan, verdict = make_result("fewer", "same", "more")
    write_verdict(tmp_path, plan, verdict)
    result = many_rounds(read_result(tmp_path), cells=39, rounds=66)
    assert sum(len(cell.rounds) for cell in result.cells) > 5000
    started = time.process_time()
    page = render_page(result, tmp_path)
    assert len(page.encode()) < 3_000_000, len(page)
    assert time.process_time() - started < 5


def test_call_stacks_are_merged_from_the_request_outwards() -> None:
    stacks = list(parse_stacks(STACKS))
    assert [(stack.hits, stack.path, stack.is_flush) for stack in stacks] == [
        (1041, "async_page_ready", True),
        (640, "mmu_notifier_unmap", True),
        (9, "scan_ioapic/other:kvm_make_scan_ioapic_request", False),
    ]
    graph = flame.draw(stacks, scale=2 * 1681)
    rows = {box.name: box for box in graph.boxes}
    assert list(rows) == [
        "flush requests",
        "async_page_ready",
        "mmu_set_spte",
        "kvm_arch_async_page_ready",
        "mmu_notifier_unmap",
        "kvm_mmu_notifier_invalidate_range_start",
        "try_to_unmap_one",
    ], "neither the probe's own frames nor those of every system call"
    assert graph.hits == 1681 and rows["flush requests"].width == pytest.approx(500)
    assert rows["mmu_notifier_unmap"].x == pytest.approx(rows["async_page_ready"].width)
    assert rows["kvm_mmu_notifier_invalidate_range_start"].label.endswith("…")
    assert graph.paths == {"async_page_ready": 1041, "mmu_notifier_unmap": 640}


def test_a_damaged_file_of_stacks_is_read_as_far_as_it_goes() -> None:
    assert [stack.hits for stack in parse_stacks("12 zap\n    a\n\nnothing\n\n99")] == [12]
    assert flame.draw([], 1.0).boxes == ()


def test_ways_that_nobody_could_see_are_left_out() -> None:
    stacks = parse_stacks("100000 zap\n    a\n\n1 sync\n    b\n")
    assert [box.name for box in flame.draw(stacks, 100001).boxes] == ["flush requests", "zap", "a"]


def test_rounds_are_dots_between_zero_and_the_largest() -> None:
    drawn = plots.plot([plots.Rates([1.0, 2.0], 1.5, (1.0, 2.2)), None, plots.Rates([0.0], 0.0, (0.0, 0.5))])
    assert [lane.kernel for lane in drawn.lanes] == [0, 2]
    assert drawn.end == 2.2 and not drawn.lanes[0].cut
    assert drawn.lanes[0].dots.count("h0") == 2
    assert float(drawn.lanes[1].rate) == plots.LEFT
    assert all(plots.LEFT <= float(lane.low) <= float(lane.high) <= plots.WIDTH for lane in drawn.lanes)


def test_an_interval_that_would_hide_the_rounds_is_cut() -> None:
    drawn = plots.plot([plots.Rates([1.0], 1.0, (0.1, 50.0))])
    assert drawn.end == plots.MOST_STRETCH and drawn.lanes[0].cut


def test_nothing_counted_has_an_axis_all_the_same() -> None:
    assert plots.plot([plots.Rates([0.0], 0.0, (0.0, 0.0))]).end == 1.0


def test_dots_that_would_hide_each_other_are_stacked_and_thousands_are_thinned() -> None:
    (lane,) = plots.plot([plots.Rates([1.0, 1.0, 1.0], 1.0, (0.5, 1.5))]).lanes
    assert len(set(re.findall(r" (\d+)h0", lane.dots))) == 3
    (lane,) = plots.plot([plots.Rates([1.0] * 5000, 1.0, (0.5, 1.5))]).lanes
    assert lane.dots.count("h0") <= plots.MOST_DOTS


def test_phases_are_in_order_though_rounds_have_more_or_fewer_dirty_rounds(written: dict[str, Path]) -> None:
    cell = read_result(written["broken"].parent).cells[0]
    names = [
        ("before", "round-1", "stop"),
        ("before", "round-1", "round-10", "stop"),
        ("before", "round-2", "stop"),
    ]
    rounds = tuple(
        replace(item, phases={phase: Phase(1.0, {"remote_tlb_flush_requests": 4}, {}) for phase in own})
        for item, own in zip(cell.rounds, names, strict=False)
    )
    rows = work.phase_rows(replace(cell, rounds=rounds), list(cell.correctness))
    assert [row.name for row in rows] == ["before", "round-1", "round-2", "round-10", "stop"]
    assert [bar.mean if bar else None for bar in rows[1].bars] == [4.0, 4.0]
    assert rows[2].bars[1] is None and rows[2].bars[0] and rows[2].bars[0].share == 1.0


def test_a_page_without_its_directory_has_no_links_to_files(written: dict[str, Path]) -> None:
    result: Result = read_result(written["broken"].parent)
    links = [element.attributes["href"] or "" for element in Page(render_page(result)).all("a")]
    assert links and all(link.startswith("#") for link in links)
