# SPDX-License-Identifier: GPL-2.0-or-later
"""A verdict for readers: people (``render_text``) and programs (``write_verdict``).

``read_result`` reads what ``write_verdict`` wrote. Every other format is a function of that ``Result`` which
returns text, and nothing else.
"""

from __future__ import annotations

from guestloop.report.reading import read_result
from guestloop.report.results import Result
from guestloop.report.text import render_text
from guestloop.report.verdict_json import SCHEMA_VERSION, VERDICT_FILE, describe, write_verdict

__all__ = [
    "SCHEMA_VERSION",
    "VERDICT_FILE",
    "Result",
    "describe",
    "read_result",
    "render_text",
    "write_verdict",
]
