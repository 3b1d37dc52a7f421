# SPDX-License-Identifier: GPL-2.0-or-later
"""Which sizes a run has, and how it is laid out on this machine."""

from __future__ import annotations

from guestloop.config import Profile
from guestloop.ground.log import say
from guestloop.machines.kind import MachineKind
from guestloop.machines.layout import Layout, lay_out, most_labs
from guestloop.machines.room import read_room
from guestloop.results.sizes import USUAL, Sizes


def lay_out_run(profile: Profile, kind: MachineKind, kernels: int, labs: int) -> Layout:
    """How a new run of so many kernels is laid out. Raises ConfigError for labs that there is no room for."""
    return lay_out(read_room(), kernels, labs, None if _follows_host(profile, kind) else USUAL)


def lay_out_again(sizes: Sizes, kernels: int, labs: int) -> Layout:
    """How a run that was begun with these sizes goes on. Raises ConfigError if there is no room for them."""
    return lay_out(read_room(), kernels, labs, sizes)


def announce(layout: Layout, kernels: int) -> None:
    """Say how large everything is, where it runs, and whether there is room for more at the same time."""
    room, (first, *others) = read_room(), layout.shares
    said = [str(layout)]
    if not others and first.cpus != room.cpus:
        said.append(f"on {first}")
    if not others and (most := most_labs(room, kernels)) > 1:
        said.append(f"there is room for {most} labs of the usual sizes side by side (--labs)")
    say(f"==> sizes: {'; '.join(said)}")


def _follows_host(profile: Profile, kind: MachineKind) -> bool:
    return profile.host_sizes and kind.follows_host
