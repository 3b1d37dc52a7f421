# SPDX-License-Identifier: GPL-2.0-or-later
"""The page: templates filled with what the other modules of this package make of a result.

It is one file that loads nothing, runs no script, and says so in a Content-Security-Policy of its own, which
allows its one style sheet by digest. What comes from kernels, patches and consoles is text, whatever it
holds: it is escaped, and what would act on a reader is shown (plain.py).
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from guestloop.report.page import cell, functions, kernels
from guestloop.report.page.badges import letters
from guestloop.report.page.matrix import panels
from guestloop.report.page.top import top
from guestloop.report.plain import clean
from guestloop.report.results import Result

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"

FLAME_BUDGET = 4500
"""Boxes of flame graphs on the whole page, the worst cells first: about 120 bytes each."""


def render_page(result: Result, out: Path | None = None) -> str:
    """The page of a result; ``out`` is its directory: evidence is drawn and linked to if it is there."""
    style = (TEMPLATES / "page.css").read_text()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    views = [cell.view(result, one, out) for one in result.cells]
    return (
        _environment()
        .get_template("page.html")
        .render(
            result=result,
            style=Markup(style),
            style_digest=digest,
            top=top(result),
            compared=kernels.compared(result),
            letters=letters(result.kernels),
            panels=panels(result),
            views=views,
            drawn=_drawn(views),
            changed=functions.changed(result),
            kernels=kernels.kernel_views(result),
            facts=kernels.run_facts(result),
            differences=kernels.differences(result),
            command=result.course.command,
        )
    )


def _drawn(views: list[cell.CellView]) -> frozenset[str]:
    """The cells whose call stacks are drawn, by anchor: the loud ones first, as far as the page has room."""
    room, drawn = FLAME_BUDGET, set()
    for view in sorted(views, key=lambda view: not view.loud):
        room -= sum(len(one.graph.boxes) for one in view.flames)
        if room >= 0:
            drawn.add(view.anchor)
    return frozenset(drawn)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _clean(value: object) -> object:
    """Every text that is filled in; what templates made of it already is safe."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
