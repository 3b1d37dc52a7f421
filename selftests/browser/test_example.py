# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/example is what its archive says, and looks as a page must.

``python selftests/example.py`` makes it anew after a change.
"""

from __future__ import annotations

import json
import re
import tarfile

import example
import pytest
from test_page import Page

from browser.conftest import HEIGHTS, Window
from browser.test_page import OPEN_ALL, TOO_WIDE
from guestloop.report import Result, read_result

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    out = tmp_path_factory.mktemp("example") / "out"
    example.unpack(out)
    return read_result(out)


def test_the_page_says_what_the_results_say(result: Result) -> None:
    page = Page(example.PAGE.read_text())
    assert page.wrong == [] and result.answer in page.text
    summaries = [" ".join(element.text.split()) for element in page.all("summary")]
    for cell, summary in zip(result.cells, summaries, strict=True):
        assert re.match(rf"{re.escape(cell.id)} . {cell.status.replace('-', ' ')} ", summary)
    assert result.summary.partition(": ")[2] in " ".join(example.MAIL.read_text().split())


def test_it_is_a_run_of_the_default_profile(result: Result) -> None:
    assert result.profile == "default" and len(result.cells) > 30
    assert {cell.cell.test for cell in result.cells} == {"asyncpf", "aging", "migration"}


def test_it_is_small_and_of_no_machine() -> None:
    assert example.ARCHIVE.stat().st_size <= 300_000
    assert example.PAGE.stat().st_size <= 1_000_000
    for path in (example.PAGE, example.MAIL):
        assert not re.search(r"/(?:work|home|tmp)/", path.read_text()), path


def test_the_archive_names_no_machine() -> None:
    with tarfile.open(example.ARCHIVE) as archive:
        kept = archive.extractfile("plan.json")
        assert kept
        plan = json.load(kept)
        names = {name.partition("/")[0] for name in archive.getnames()}
    assert (plan["directory"], plan["arguments"]) == (example.DIRECTORY, ["run"])
    assert {"plan.json", "rounds"} < names <= {name.partition("/")[0] for name in example.KEPT}


@pytest.mark.parametrize("width", HEIGHTS)
def test_it_fits_the_window_when_all_is_open(width: int, window: Window) -> None:
    page = window(example.PAGE, width)
    page.evaluate(OPEN_ALL)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(TOO_WIDE) == []
    cut = "[...document.querySelectorAll('.panels .scroll')].filter(one => one.scrollWidth > one.clientWidth)"
    assert page.evaluate(f"{cut}.length") == 0, "the matrix is seen whole"


def test_the_screenshots_are_of_its_first_screen() -> None:
    for width, height in HEIGHTS.items():
        for scheme in ("light", "dark"):
            data = example.screenshot(width, scheme).read_bytes()
            assert data[:8] == b"\x89PNG\r\n\x1a\n"
            assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (width, height)
