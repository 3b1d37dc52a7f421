# SPDX-License-Identifier: GPL-2.0-or-later
"""``scripts/doctor``: what this machine can run, why not more, and what would spoil a measurement.

It looks and changes nothing. It needs neither root nor a build, nor anything but Python and its standard
library. A run decides by the same facts (machines/host.py).
"""

from guestloop.doctor.facts import Facts, read_facts
from guestloop.doctor.report import Report, examine, render_json, render_text

__all__ = ["Facts", "Report", "examine", "read_facts", "render_json", "render_text"]
