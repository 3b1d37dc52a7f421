# SPDX-License-Identifier: GPL-2.0-or-later
"""A span of time as people write it: ``90s``, ``20m``, ``1h``."""

from __future__ import annotations

import re

from guestloop.ground.errors import ConfigError

_SECONDS = {"s": 1, "m": 60, "h": 3600}


def parse_duration(where: str, text: str) -> float:
    """Seconds. Raises ConfigError for anything but a whole number above 0 with a unit: s, m or h."""
    match = re.fullmatch(r"([0-9]{1,9})([smh])", text)
    if not match or not int(match[1]):
        raise ConfigError(
            f"{where}: a time with its unit was wanted, seen: {text!r}", hint="for example 90s, 20m or 1h"
        )
    return float(int(match[1]) * _SECONDS[match[2]])
