# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent of a scripted L1: the real services where they can be, others of the same signatures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from guestloop.agent.services import Agent
from guestloop.ground.codec import hints_of
from scripted import services
from scripted.kernel import ScriptedTrace
from scripted.stage import Stage

if TYPE_CHECKING:
    from scripted.machine import ScriptedL1


def make_agent(l1: ScriptedL1, directory: Path) -> Agent:
    """As agent/services.py: make_agent."""
    stage = Stage(l1, directory, ScriptedTrace(l1.kernel))
    return Agent(**{name: scripted_kind(kind)(stage) for name, kind in hints_of(Agent).items()})


def scripted_kind(service: type[Any]) -> type[Any]:
    """The class that acts a service of the agent. Raises LookupError unless there is exactly one."""
    found = [kind for kind in service.__subclasses__() if kind.__module__.startswith(services.__name__)]
    if len(found) != 1:
        raise LookupError(
            f"selftests/scripted/services must act {service.__name__} once, seen: {[*map(str, found)]}"
        )
    return found[0]
