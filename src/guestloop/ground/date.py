# SPDX-License-Identifier: GPL-2.0-or-later
"""Dates as results have them."""

from __future__ import annotations

from datetime import UTC, datetime


def now_utc() -> str:
    """``2026-04-08T09:31:07+00:00``"""
    return datetime.now(UTC).isoformat(timespec="seconds")
