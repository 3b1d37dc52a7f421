# SPDX-License-Identifier: GPL-2.0-or-later
"""Every file of a report: its name, and what makes its text from a result directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from guestloop.report.junit import render_junit
from guestloop.report.kcidb import render_kcidb
from guestloop.report.ktap import render_ktap
from guestloop.report.lava import render_lava
from guestloop.report.mail import render_mail
from guestloop.report.material import Material
from guestloop.report.reading import read_result
from guestloop.results.files import write_bytes


def _render_page(material: Material) -> str:
    # Its templates are compiled when they are needed: most commands make no report.
    from guestloop.report.page import render_page

    return render_page(material.result, material.out)


FORMATS: Mapping[str, Callable[[Material], str]] = {
    "report.html": _render_page,
    "mail.txt": render_mail,
    "junit.xml": render_junit,
    "results.ktap": render_ktap,
    "kcidb.json": render_kcidb,
    "lava.txt": render_lava,
}
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
            with suppress(OSError):
                (out / name).unlink(missing_ok=True)
            errors.append(error)
    if errors:
        raise errors[0]
    return tuple(out / name for name in FORMATS)
