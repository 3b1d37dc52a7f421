# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/example: the results of a real run as an archive, and what is made of them.

``python selftests/example.py OUT`` takes the results from a result directory; without OUT it makes the page,
the mail and the screenshots anew from the archive that is there.
"""

from __future__ import annotations

import json
import lzma
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from browser.conftest import HEIGHTS, chromium
from playwright.sync_api import sync_playwright

from guestloop.config import REPOSITORY
from guestloop.job.conclude import conclude
from guestloop.report import FORMATS, read_result
from guestloop.report.material import Material
from guestloop.report.page import render_page
from guestloop.results.plan import PLAN_FILE

EXAMPLE = REPOSITORY / "docs" / "example"
ARCHIVE = EXAMPLE / "results.tar.xz"
PAGE = EXAMPLE / "report.html"
MAIL = EXAMPLE / "mail.txt"
KEPT = (PLAN_FILE, "rounds", "sittings", "evidence", "lab/late-warnings.json")
"""Of a result directory: what a verdict and a page are made from."""

DIRECTORY = "/root/guestloop"
"""In place of the directory that the command was given in, and of others, which are of one machine."""


def screenshot(width: int, scheme: str) -> Path:
    """Where the first screen is, as it is seen at this width."""
    return EXAMPLE / f"first-screen-{width}-{scheme}.png"


def pack(out: Path) -> None:
    """Keep the results of a run, the same bytes for the same results."""
    with tempfile.TemporaryDirectory() as name, lzma.open(ARCHIVE, "wb", preset=9) as packed:
        plan = Path(name) / PLAN_FILE
        data = json.loads((out / PLAN_FILE).read_text())
        for known in data.get("known_reach", {}).values():
            for one in known.values():
                one["source"] = DIRECTORY
        plan.write_text(json.dumps({**data, "directory": DIRECTORY, "arguments": _without_out(data)}))
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
            archive.add(plan, PLAN_FILE, filter=_anonymous)
            for kept in KEPT[1:]:
                if (out / kept).exists():
                    archive.add(out / kept, kept, filter=_anonymous)


def _without_out(plan: dict[str, list[str]]) -> list[str]:
    words = plan.get("arguments", [])
    given = words.index("--out") if "--out" in words else len(words)
    return words[:given] + words[given + 2 :]


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def unpack(into: Path) -> None:
    """The result directory again, with its verdict recomputed."""
    shutil.unpack_archive(ARCHIVE, into)
    conclude(into, replace_old=True)


def render(out: Path) -> None:
    """The page without links, as the evidence does not lie beside it, and the mail of nobody."""
    result = read_result(out)
    PAGE.write_text(render_page(result, out, linked=False))
    MAIL.write_text(FORMATS["mail.txt"](Material(result, out)))


def take_screenshots() -> None:
    """The first screen of the page, as it is seen on a laptop and on a phone, light and dark."""
    with sync_playwright() as driver:
        browser = chromium(driver)
        for width, height in HEIGHTS.items():
            for scheme in ("light", "dark"):
                page = browser.new_page(
                    viewport={"width": width, "height": height},
                    color_scheme="dark" if scheme == "dark" else "light",
                )
                page.goto(PAGE.as_uri())
                page.screenshot(path=screenshot(width, scheme))
        browser.close()


def main(arguments: list[str]) -> None:
    """Make all of docs/example."""
    EXAMPLE.mkdir(exist_ok=True)
    if arguments:
        pack(Path(arguments[0]))
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out"
        unpack(out)
        render(out)
    take_screenshots()


if __name__ == "__main__":
    main(sys.argv[1:])
