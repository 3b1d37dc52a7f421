# SPDX-License-Identifier: GPL-2.0-or-later
"""What the services of a scripted L1 share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guestloop.agent.trace import Trace

if TYPE_CHECKING:
    from scripted.machine import ScriptedL1


@dataclass(frozen=True)
class Stage:
    """Handed to each service: its L1, where the payload would be, and what counts in L1's kernel."""

    l1: ScriptedL1
    directory: Path
    trace: Trace
