# SPDX-License-Identifier: GPL-2.0-or-later
"""What the files of a report are made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guestloop.report.results import Result


@dataclass(frozen=True)
class Material:
    """The result, the directory that it lies in, and who sends the mail.

    ``sender`` is ``Jane Doe <jane@example.org>``, empty if not known. Nothing else goes into a report.
    """

    result: Result
    out: Path
    sender: str = ""
