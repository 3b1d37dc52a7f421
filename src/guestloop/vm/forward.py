# SPDX-License-Identifier: GPL-2.0-or-later
"""The port of L0 that leads to the sshd of a machine (vm/argv.py: network)."""

from __future__ import annotations

import re

from guestloop.ground.errors import LabError
from guestloop.ground.qmp import Qmp


def forwarded_port(qmp: Qmp, machine: str) -> int:
    """The port that QEMU picked: the only place that tells it is the human monitor. Raises LabError."""
    text = qmp.execute("human-monitor-command", command_line="info usernet")
    found = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", text)
    if not found:
        raise LabError(f"{machine}: no SSH forward in QEMU's 'info usernet':\n{text}")
    return int(found[1])
