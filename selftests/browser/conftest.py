# SPDX-License-Identifier: GPL-2.0-or-later
"""A browser for all tests, and windows of it that note everything that goes wrong in them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pages import SAMPLES
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

HEIGHTS = {1280: 800, 360: 780}
"""What is seen of a page before it is scrolled, by the width of the window: a laptop, and a phone."""

Window = Callable[..., Page]


def chromium(driver: Playwright) -> Browser:
    """Debian's, without a sandbox, which it has not as root; the pages are our own."""
    program = shutil.which("chromium")
    assert program, "not installed: chromium; scripts/test installs it"
    return driver.chromium.launch(executable_path=program, args=["--no-sandbox"])


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        running = chromium(driver)
        yield running
        running.close()


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of each sample."""
    base = tmp_path_factory.mktemp("pages")
    return {name: make(base / name) for name, make in SAMPLES.items()}


@pytest.fixture
def window(browser: Browser) -> Iterator[Window]:
    """Opens a page; at the end nothing may have been complained of or loaded but the page itself."""
    wrong: list[str] = []

    with ExitStack() as contexts:

        def show(path: Path, width: int = 1280, scheme: str = "light", scale: float = 1) -> Page:
            context = browser.new_context(
                viewport={"width": width, "height": HEIGHTS[width]},
                color_scheme="dark" if scheme == "dark" else "light",
                device_scale_factor=scale,
            )
            contexts.callback(context.close)
            page = context.new_page()
            page.on("console", lambda message: wrong.append(message.text))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("dialog", lambda dialog: wrong.append(dialog.message))
            own = path.as_uri()
            page.on("request", lambda request: wrong.append(request.url) if request.url != own else None)
            page.goto(own)
            return page

        yield show
    assert wrong == []
