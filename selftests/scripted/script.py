# SPDX-License-Identifier: GPL-2.0-or-later
"""How L1's kernel, QEMU and the payload behave: by default as they should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from samples import L2_KERNEL

from guestloop.agent.dirty_ring import RingLimits

BUILD_ID = "abcd"


@dataclass
class Script:
    """What a test may bend, before a round or while it runs."""

    # --- L1's kernel
    lacks: Mapping[str, str] = field(default_factory=dict)
    """Reasons by what is lacking: a need (``swap``) or a service (``mglru``)."""
    ran: Mapping[str, int] = field(default_factory=dict)
    """Calls in each round of functions that are watched; what is not there never runs."""
    ran_late: int = 0
    """Calls of functions that were not called before counting began."""
    uncounted: int = 0
    """Flush requests in each lap and dirty round that KVM counts and no call path accounts for."""
    lost: int = 0
    """Flush requests in each lap that KVM's counter lost."""
    root_loads: int = 0
    """Roots that vCPUs load in each lap and dirty round, after as many requests to free the old ones."""
    swaps: bool = True
    splits: bool = True
    ready: int = 400
    """Page-ready events in each lap over pages that are in swap."""
    ready_flushes: int = 160
    huge_pages: float = 1.0
    """Share of the region that is made of huge pages when these are wanted."""
    stray_huge_pages: bool = False
    """Whether RAM is made of huge pages although nobody asked for them."""
    ages: bool = True
    """Whether the tracepoint of the notifiers that clear is hit; ``tests``: of the one that only looks."""
    tests: bool = True
    false_idle: float = 0.0
    """Share of the touched pages that is taken for idle."""
    false_young: float = 0.0
    """Share of the untouched pages that is taken for young."""
    overshoots: bool = False
    """Whether reclaim takes all touched pages that it believes to be idle, beyond what it is asked for."""
    reset_calls: int = 20
    """After how many calls reclaim has looked at every page."""
    mglru: str = "0x0007"
    """What reads back when MGLRU is switched on."""
    walks: bool = True
    """Whether MGLRU asks KVM when it walks page tables, or only when it evicts."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Settings that it boots with, where they are not the usual ones."""
    pool: int = 1000
    """Huge pages of 2 MiB that L1 has memory for."""

    # --- the payload
    kvmapf: bool = True
    l2_build_id: str = L2_KERNEL.build_id
    bad_pages: int = 0
    bad_visits: int = 0
    loses_pages: bool = False
    """Whether it has no pages to check any more."""
    silent_after: str = ""
    """A command that it does not answer, nor any later one. Its vCPUs stand still, or ``spins``."""
    spins: bool = False
    ends_at: str = ""
    """A command at which its guest ends: the kernel prints ``panic``, QEMU exits with ``status``."""
    status: int = 0
    panic: str = ""

    # --- QEMU
    logs: bool = True
    """Whether dirty pages are still logged at the end of the scans."""
    held_in: int = 4
    """The dirty round that a migration stays in until it is released."""
    dirty: int = 60
    """Pages that are dirty again in each round."""
    fails_in: int = 0
    """The dirty round in which it fails; 0: none."""
    outruns_in: int = 0
    """The dirty round after which there is nothing left to send, although it is held; 0: none."""
    page_requests: int = 40
    stays_precopy: bool = False
    """Whether a migration that is told to go on as postcopy completes without."""
    log_syncs: int = 3
    ring_pages: int = 90
    ring_limits: RingLimits = field(default_factory=lambda: RingLimits(64, 65536))
    ring_exits: int = 2
    ring_resets: int = 3
    connections: int = 4
    multifd_bytes: int = 1 << 20
    compared: int = 0
    """Pages of RAM that were compared, where these are not all."""
    lost_pages: Mapping[int, tuple[bytes, bytes]] = field(default_factory=dict)
    """Contents of source and destination by number of the page, where they differ."""
    forgotten_visits: int = 0
    """How many visits of each vCPU the destination knows nothing of."""
    idle_after: tuple[int, ...] = ()
    """vCPUs that do nothing at the destination."""
