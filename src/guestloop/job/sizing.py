# SPDX-License-Identifier: GPL-2.0-or-later
"""Which sizes a run has, and how it is laid out on this machine."""

from __future__ import annotations

from guestloop.config import Profile
from guestloop.ground.log import say
from guestloop.machines.choice import AUTO, choose, kind_named
from guestloop.machines.host import read_host
from guestloop.machines.kind import MachineKind
from guestloop.machines.layout import Layout, lay_out
from guestloop.machines.room import read_room
from guestloop.results.sizes import USUAL, Sizes


def lay_out_run(profile: Profile, kind: MachineKind, kernels: int, labs: int) -> Layout:
    """How a new run of so many kernels is laid out. Raises ConfigError for labs that there is no room for."""
    return lay_out(read_room(), kernels, labs, None if _follows_host(profile, kind) else USUAL)


def lay_out_again(sizes: Sizes, kernels: int, labs: int) -> Layout:
    """How a run that was begun with these sizes goes on. Raises ConfigError if there is no room for them."""
    return lay_out(read_room(), kernels, labs, sizes)


def expected_sizes(profile: Profile, accel: str, kernels: int, labs: int) -> Sizes:
    """The sizes of a run, as far as they can be told without one. Raises what ``lay_out_run`` does."""
    if not profile.host_sizes:
        return USUAL
    kind = choose(read_host()).kind if accel == AUTO else kind_named(accel)
    return lay_out_run(profile, kind, kernels, labs).sizes


def announce(layout: Layout) -> None:
    """Say how large everything is."""
    say(f"==> sizes: {layout}")


def _follows_host(profile: Profile, kind: MachineKind) -> bool:
    return profile.host_sizes and kind.follows_host
