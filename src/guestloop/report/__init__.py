# SPDX-License-Identifier: GPL-2.0-or-later
"""A verdict for readers: people (``render_text``) and programs (``write_verdict``).

A format is a function of ``(plan, verdict)`` that returns text or data, and nothing else; HTML, JUnit,
KTAP, KCIDB and LAVA are to become modules beside these two.
"""

from __future__ import annotations

from guestloop.report.text import render_text
from guestloop.report.verdict_json import SCHEMA_VERSION, VERDICT_FILE, describe, write_verdict

__all__ = ["SCHEMA_VERSION", "VERDICT_FILE", "describe", "render_text", "write_verdict"]
