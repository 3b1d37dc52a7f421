# SPDX-License-Identifier: GPL-2.0-or-later
"""A verdict for readers: people (``render_brief``, ``render_text``) and programs (``write_verdict``).

``read_result`` reads what ``write_verdict`` wrote, and ``write_formats`` makes every other file from that: a
format is a function from ``Material`` to text in a module of its own, named in ``FORMATS``. Those for
programs are made from ``checks``.
"""

from __future__ import annotations

from guestloop.report.brief import render_brief
from guestloop.report.formats import FORMATS, write_formats
from guestloop.report.reading import read_result, result_of
from guestloop.report.results import Result
from guestloop.report.text import render_text
from guestloop.report.verdict_json import SCHEMA_VERSION, VERDICT_FILE, describe, write_verdict

__all__ = [
    "FORMATS",
    "SCHEMA_VERSION",
    "VERDICT_FILE",
    "Result",
    "describe",
    "read_result",
    "render_brief",
    "render_text",
    "result_of",
    "write_formats",
    "write_verdict",
]
