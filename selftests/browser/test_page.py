# SPDX-License-Identifier: GPL-2.0-or-later
"""The page of a report as it is seen, read aloud, printed and used with a keyboard."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from pages import SAMPLES
from playwright.sync_api import expect

from browser.conftest import HEIGHTS, Window

pytestmark = pytest.mark.browser

every_sample = pytest.mark.parametrize("name", SAMPLES)
each_scheme = pytest.mark.parametrize("scheme", ["light", "dark"])
each_width = pytest.mark.parametrize("width", HEIGHTS)

OPEN_ALL = "document.querySelectorAll('details').forEach(one => one.open = true)"
TOO_WIDE = """() => [...document.querySelectorAll('body *')]
    .filter(one => !one.closest('.scroll, pre') && one.getBoundingClientRect().right > innerWidth + 0.5)
    .map(one => one.tagName + ' ' + one.textContent.slice(0, 60))"""
LUMINANCE = """one => {
    while (getComputedStyle(one).backgroundColor == 'rgba(0, 0, 0, 0)') one = one.parentElement
    const [red, green, blue] = getComputedStyle(one).backgroundColor.match(/[0-9.]+/g).map(Number)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
}"""


def read_image(image: bytes) -> str:
    """What tesseract reads in a screenshot, without its line breaks: a name may be broken at them."""
    command = ("tesseract", "stdin", "stdout", "--psm", "4", "--dpi", "150")
    alone = {**os.environ, "OMP_THREAD_LIMIT": "1"}  # its threads wait for each other more than they work
    done = subprocess.run(command, input=image, env=alone, capture_output=True, check=True)
    return done.stdout.decode()


def joined(text: str) -> str:
    return "".join(text.split())


@each_scheme
@each_width
def test_the_first_screen_names_the_broken_cell_and_why(
    width: int, scheme: str, window: Window, written: dict[str, Path]
) -> None:
    page = window(written["broken"], width, scheme, scale=2)
    read = joined(read_image(page.screenshot()))
    for wanted in (
        "asyncpf/direct/read-own",
        "broken",
        "wrong on patched in 2 of 2 rounds",
        "34 pages were lost",
    ):
        assert joined(wanted) in read, read


@each_scheme
@each_width
def test_the_broken_cell_is_the_only_one_of_its_colour_and_differs_without_colour(
    width: int, scheme: str, window: Window, written: dict[str, Path]
) -> None:
    page = window(written["broken"], width, scheme)
    cells = page.locator(".matrix td a")
    look = "one => getComputedStyle(one).backgroundColor"
    colours = {cell.inner_text().strip(): cell.evaluate(look) for cell in cells.all()}
    assert list(colours.values()).count(colours["✕ broken"]) == 1 < cells.count()
    brightness = {cell.inner_text().strip(): cell.evaluate(LUMINANCE) for cell in cells.all()}
    broken = brightness.pop("✕ broken")
    background = page.locator("body").evaluate(LUMINANCE)
    # In grey it is the one that is far from the background; all others are near to it.
    assert abs(broken - background) > 80
    assert all(abs(other - background) < 60 for other in brightness.values())


@every_sample
@each_width
def test_nothing_is_wider_than_the_window(
    name: str, width: int, window: Window, written: dict[str, Path]
) -> None:
    page = window(written[name], width)
    page.evaluate(OPEN_ALL)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(TOO_WIDE) == []


@every_sample
@each_scheme
def test_contrast_names_and_roles(name: str, scheme: str, window: Window, written: dict[str, Path]) -> None:
    """axe-core, which knows the rules of WCAG."""
    page = window(written[name], scheme=scheme)
    page.evaluate(OPEN_ALL)
    found: dict[str, Any] = Axe().run(page).response
    wrong = [
        (one["id"], [(node["target"], node["failureSummary"]) for node in one["nodes"]][:2])
        for one in found["violations"]
    ]
    assert wrong == []
    assert len(found["passes"]) > 20, "or axe saw no page"


def test_on_a_phone_contrast_is_as_good(window: Window, written: dict[str, Path]) -> None:
    page = window(written["statuses"], 360)
    page.evaluate(OPEN_ALL)
    assert [one["id"] for one in Axe().run(page).response["violations"]] == []


def test_a_link_of_the_matrix_opens_its_cell(window: Window, written: dict[str, Path]) -> None:
    page = window(written["statuses"])
    shut = page.locator("details:not([open])").first
    body = shut.locator(".body").element_handle()
    page.locator(f".matrix a[href='#{body.get_attribute('id')}']").click()
    assert body.is_visible()
    assert body.evaluate("one => one.getBoundingClientRect().top < innerHeight")


def test_it_can_be_used_with_a_keyboard(window: Window, written: dict[str, Path]) -> None:
    page = window(written["statuses"])
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    assert focused.inner_text() == "asyncpf/direct/read-own"
    assert focused.evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
    page.locator("details:not([open]) > summary").first.focus()
    summary = page.locator(":focus")
    page.keyboard.press("Enter")
    assert summary.evaluate("one => one.parentElement.open")


def test_a_screen_reader_is_told_the_matrix_and_the_plots(window: Window, written: dict[str, Path]) -> None:
    page = window(written["broken"])
    matrix = page.get_by_role("table", name="asyncpf")
    row = matrix.get_by_role("row", name="read-own")
    assert row.get_by_role("rowheader").inner_text() == "read-own"
    expect(row.get_by_role("link", name="broken")).to_be_visible()
    plot = page.get_by_role("img", name="async_page_ready per page-ready event: unpatched").first
    assert "rounds" in (plot.get_attribute("aria-label") or "")
    expect(page.get_by_role("img", name="Callers of").first).to_be_visible()


def test_figures_stay_a_table_on_a_phone(window: Window, written: dict[str, Path]) -> None:
    page = window(written["broken"], 360)
    row = page.locator("details[open] .figures tbody tr").first
    assert row.get_by_role("rowheader").count() == 1 and row.get_by_role("cell").count() == 3


def test_it_is_black_on_white_when_it_is_printed(window: Window, written: dict[str, Path]) -> None:
    page = window(written["broken"], scheme="dark")
    page.emulate_media(media="print", color_scheme="light")
    assert page.locator("body").evaluate(LUMINANCE) > 250
    broken = page.locator(".matrix .s-broken")
    assert broken.evaluate("one => getComputedStyle(one).printColorAdjust") == "exact"
    assert page.pdf().startswith(b"%PDF")


def test_without_its_style_sheet_the_page_says_the_same(window: Window, written: dict[str, Path]) -> None:
    """A CI that serves it under a stricter policy, as Jenkins does, leaves it without."""
    page = window(written["broken"])
    page.evaluate("document.querySelector('style').remove()")
    first = page.locator("body").inner_text()[:600]
    assert "Regression" in first and "✕ broken asyncpf/direct/read-own wrong on patched" in " ".join(
        first.split()
    )


@every_sample
def test_every_link_leads_somewhere(name: str, window: Window, written: dict[str, Path]) -> None:
    page = window(written[name])
    for address in page.evaluate("[...document.links].map(one => one.href)"):
        path, _, fragment = address.partition("#")
        if path == page.url.partition("#")[0]:
            assert fragment and page.locator(f"[id='{fragment}']").count() == 1
        else:
            assert path.startswith("file:") and Path(unquote(urlsplit(path).path)).is_file()
