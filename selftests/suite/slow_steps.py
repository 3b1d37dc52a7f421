# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps that tests with guests waited for: builds, above all (guestloop.ground.log: step)."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

LEAST_S = 5.0
STEP = re.compile(r"    (?P<line>.+: (?:done|failed) in (?:(?P<minutes>\d+) min )?(?P<seconds>[\d.]+) s.*)")


def slow_steps(reports: Iterable[pytest.TestReport]) -> list[str]:
    """Steps of 5 s or more that the tests printed, in their order."""
    # A test's last report has what its setup and its call have printed as well.
    whole = [report for report in reports if report.when == "teardown"]
    texts = [text for report in whole for _, text in report.sections]
    steps = [step for text in texts for line in text.splitlines() if (step := STEP.fullmatch(line))]
    return [
        step["line"] for step in steps if 60 * int(step["minutes"] or 0) + float(step["seconds"]) >= LEAST_S
    ]
