# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that L0 can ask of the agent: each namespace is the module of the same name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guestloop.agent.changed import Changed, Probes
from guestloop.agent.damon import Damon
from guestloop.agent.guests import Guests, Roster
from guestloop.agent.kvm import Kvm
from guestloop.agent.memory import Memory
from guestloop.agent.mglru import Mglru
from guestloop.agent.migration import Migration
from guestloop.agent.page_idle import PageIdle
from guestloop.agent.reclaim import Reclaim
from guestloop.agent.regions import Atlas, Regions
from guestloop.agent.settings import Settings
from guestloop.agent.system import System
from guestloop.agent.trace import Trace, Tracing


@dataclass(frozen=True)
class Agent:
    """The services of an agent. On L0 an object of this class calls them (ground/rpc.py: client)."""

    system: System
    settings: Settings
    kvm: Kvm
    memory: Memory
    trace: Tracing
    changed: Changed
    guests: Guests
    regions: Regions
    reclaim: Reclaim
    page_idle: PageIdle
    mglru: Mglru
    damon: Damon
    migration: Migration


def make_agent(directory: Path) -> Agent:
    """The services of this L1; ``directory`` is where its payload was unpacked."""
    trace, probes, roster, atlas = Trace(), Probes(), Roster(), Atlas()
    return Agent(
        system=System(),
        settings=Settings(),
        kvm=Kvm(directory / "modules", trace, probes),
        memory=Memory(),
        trace=Tracing(trace),
        changed=Changed(probes),
        guests=Guests(roster, directory / "l2"),
        regions=Regions(roster, atlas),
        reclaim=Reclaim(atlas),
        page_idle=PageIdle(atlas),
        mglru=Mglru(roster),
        damon=Damon(atlas),
        migration=Migration(roster, trace),
    )
