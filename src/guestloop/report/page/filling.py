# SPDX-License-Identifier: GPL-2.0-or-later
"""Templates filled with values: one file that loads nothing and runs no script.

It says so in a Content-Security-Policy of its own, which allows its one style sheet by digest. What comes
from kernels, patches and consoles is text, whatever it holds: it is escaped, and what would act on a reader
is shown (plain.py).
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from guestloop.report.plain import clean

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"


def fill(template: str, own: Path = TEMPLATES, **values: object) -> str:
    """The text of a template, which extends ``base.html``.

    ``own`` is the directory of a page that is none of a report: its templates go before those of reports, and
    its style sheets are added to theirs.
    """
    sheets = [TEMPLATES / "page.css", *(sorted(own.glob("*.css")) if own != TEMPLATES else ())]
    style = "".join(sheet.read_text() for sheet in sheets)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _environment(own).get_template(template).render(style=Markup(style), style_digest=digest, **values)


@cache
def _environment(own: Path) -> Environment:
    return Environment(
        loader=FileSystemLoader([own, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _clean(value: object) -> object:
    """Every text that is filled in; what templates made of it already is safe."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
