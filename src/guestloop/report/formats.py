# SPDX-License-Identifier: GPL-2.0-or-later
"""Every file of a report: its name, and what makes its text from a result directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from guestloop.report.reading import read_result
from guestloop.report.results import Result
from guestloop.results.files import write_bytes


@dataclass(frozen=True)
class Material:
    """What a format is made from: the result, the directory it lies in, and who sends the mail.

    ``sender`` is ``Jane Doe <jane@example.org>``, empty if not known.
    """

    result: Result
    out: Path
    sender: str = ""


FORMATS: Mapping[str, Callable[[Material], str]] = {}
"""By the name of the file in OUT."""


def write_formats(out: Path, sender: str = "") -> tuple[Path, ...]:
    """Make every file of the report anew from ``verdict.json`` and what lies beside it; returns them.

    A file that cannot be made is removed, so that none is left of another verdict, and the others are made.
    Then the first error is raised. Raises what ``read_result`` does, and OSError.
    """
    material = Material(read_result(out), out, sender)
    errors: list[Exception] = []
    for name, render in FORMATS.items():
        try:
            # What plain.py has not seen, such as a surrogate in a name, must not make the file unwritable.
            text = render(material).encode(errors="backslashreplace")
            write_bytes(out / name, text, replace=True)
        except Exception as error:  # noqa: BLE001 - one format must not take the others along
            (out / name).unlink(missing_ok=True)
            errors.append(error)
    if errors:
        raise errors[0]
    return tuple(out / name for name in FORMATS)
