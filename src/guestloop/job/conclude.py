# SPDX-License-Identifier: GPL-2.0-or-later
"""From the rounds of a result directory to its verdict, without a guest."""

from __future__ import annotations

import sys
from pathlib import Path

from guestloop.compare import Verdict, compare
from guestloop.ground.log import can_draw
from guestloop.report import render_text, write_verdict
from guestloop.results.late import read_late
from guestloop.results.plan import read_plan
from guestloop.results.records import read_rounds


def conclude(out: Path, *, replace_old: bool = False) -> Verdict:
    """Compare the rounds of a result directory, write its verdict, and print it."""
    plan = read_plan(out)
    verdict = compare(plan, read_rounds(out), read_late(out))
    write_verdict(out, plan, verdict, replace=replace_old)
    print(render_text(plan, verdict, colour=can_draw(sys.stdout), out=out), flush=True)
    return verdict
