# SPDX-License-Identifier: GPL-2.0-or-later
"""The page of a report: its template filled with what the other modules of this package make of a result."""

from __future__ import annotations

from pathlib import Path

from guestloop.report.lines import letters
from guestloop.report.page import cell, functions, kernels
from guestloop.report.page.filling import fill
from guestloop.report.page.matrix import panels
from guestloop.report.page.top import top
from guestloop.report.results import Result

FLAME_BUDGET = 4500
"""Boxes of flame graphs on the whole page, the worst cells first: about 120 bytes each."""


def render_page(result: Result, out: Path | None = None, *, linked: bool = True) -> str:
    """The page of a result; ``out`` is its directory, where evidence is drawn from if it is there.

    ``linked``: the page will lie in it, and has links to the files there.
    """
    views = [cell.view(result, one, out, linked=linked) for one in result.cells]
    return fill(
        "page.html",
        result=result,
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


def _drawn(views: list[cell.CellView]) -> frozenset[str]:
    """The cells whose call stacks are drawn, by anchor: the loud ones first, as far as the page has room."""
    room, drawn = FLAME_BUDGET, set()
    for view in sorted(views, key=lambda view: not view.loud):
        room -= sum(len(one.graph.boxes) for one in view.flames)
        if room >= 0:
            drawn.add(view.anchor)
    return frozenset(drawn)
