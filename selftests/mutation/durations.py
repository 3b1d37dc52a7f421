# SPDX-License-Identifier: GPL-2.0-or-later
"""A plugin of pytest (``-p mutation.durations``): writes how long each test took."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

VARIABLE = "PYTEST_MUTATION_DURATIONS"  # conftest.py leaves those of pytest in the environment
_seconds: Counter[str] = Counter()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up setup, call and teardown; with xdist the reports of all workers come here."""
    _seconds[report.nodeid] += report.duration  # type: ignore[assignment]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write it down, in the process that has all reports."""
    if not hasattr(session.config, "workerinput"):
        Path(os.environ[VARIABLE]).write_text(json.dumps(_seconds))
