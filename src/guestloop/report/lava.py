# SPDX-License-Identifier: GPL-2.0-or-later
"""``lava.txt``: commands for the shell of a LAVA test, which record each check: ``sh OUT/lava.txt``.

What a line becomes is a signal on the console, ``<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=... RESULT=...>``, which
the dispatcher splits at blanks and at ``=`` (lava_dispatcher/actions/test/shell.py, handle_testcase).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from guestloop.report.checks import Check, Mark, checks_of
from guestloop.report.material import Material
from guestloop.report.plain import one_line
from guestloop.report.results import Figure

RESULTS: Mapping[Mark, str] = {
    Mark.FAIL: "fail",
    Mark.ERROR: "unknown",
    Mark.MISS: "unknown",
    Mark.OPEN: "unknown",
    Mark.PASS: "pass",
    Mark.SKIP: "skip",
}


def render_lava(material: Material) -> str:
    """A line for each check, with the rate that it rests on."""
    answer = f"# {one_line(material.result.answer)}"
    return "\n".join([answer, *(_line(check) for check in checks_of(material.result))]) + "\n"


def _line(check: Check) -> str:
    return shlex.join(
        ["lava-test-case", check.id, "--result", RESULTS[check.mark], *_measured(check.decisive)]
    )


def _measured(figure: Figure | None) -> list[str]:
    if figure is None or figure.absent[1]:
        return []
    return ["--measurement", f"{figure.rates[1]:.6g}", "--units", _units(figure)]


def _units(figure: Figure) -> str:
    """``async_page_ready/page-ready-event``: one word without ``=``, ``<`` or ``>``."""
    return re.sub(r"[^A-Za-z0-9_.:/-]+", "-", f"{figure.name}/{figure.unit}")
