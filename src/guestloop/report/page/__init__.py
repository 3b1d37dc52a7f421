# SPDX-License-Identifier: GPL-2.0-or-later
"""OUT/report.html: one page that answers in five seconds, and shows below what the answer rests on.

``top`` and ``matrix`` are what is seen first; ``cell`` is one cell, with ``figures``, ``work`` and the
``flame`` graphs of call stacks; ``functions`` says which functions differ, ``kernels`` where all came from.
These make values; ``render`` fills the template with them by ``filling``, which other pages use too.
"""

from __future__ import annotations

from guestloop.report.page.render import render_page

__all__ = ["render_page"]
