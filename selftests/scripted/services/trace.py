# SPDX-License-Identifier: GPL-2.0-or-later
"""The real service, on scripted counts."""

from __future__ import annotations

from guestloop.agent.trace import Tracing
from scripted.stage import Stage


class ScriptedTracing(Tracing):
    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.trace)
