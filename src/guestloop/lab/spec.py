# SPDX-License-Identifier: GPL-2.0-or-later
"""What a lab is told when it starts, how a test finds it, and what it returns for an L1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from guestloop.agent.changed import Watched
from guestloop.agent.system import Hello
from guestloop.ground.codec import decode, encode
from guestloop.machines.host import Vendor
from guestloop.results.plan import L2Kernel
from guestloop.results.sizes import USUAL, Sizes
from guestloop.vm.parts import L1Parts

# How a test process finds the lab of its run and where results go.
SOCKET_VARIABLE = "GUESTLOOP_LAB"
OUT_VARIABLE = "GUESTLOOP_OUT"


@dataclass(frozen=True)
class RunningLab:
    """A lab as the job has to do with it: how tests find it, and the CPUs that are its own.

    Without CPUs of its own it may use any.
    """

    socket: str
    cpus: tuple[int, ...] = ()


@dataclass(frozen=True)
class LabSpec:
    """The L1s by kernel name, and the directory for their consoles.

    ``socket`` is a name in the abstract namespace: it has no file that could be left behind.
    ``requests`` gives the number of KVM_REQ_TLB_FLUSH per kernel. ``l2_kernel`` is what each L2 must run,
    ``digests`` are those of the plan. ``boots`` is the number of the last boot of a kernel's L1, of an
    earlier lab whose run is resumed; each boot has a number higher by ``boot_step``, so that labs side by
    side never have the same. ``cpus`` are those that are its own; empty if it may use any.
    ``watched`` are the functions of each kernel whose calls are counted in rounds that ask for it.
    """

    socket: str
    directory: Path
    vendor: Vendor
    parts: Mapping[str, L1Parts]
    requests: Mapping[str, int]
    l2_kernel: L2Kernel
    digests: Mapping[str, str]
    boots: Mapping[str, int] = field(default_factory=dict)
    boot_step: int = 1
    cpus: tuple[int, ...] = ()
    watched: Mapping[str, tuple[Watched, ...]] = field(default_factory=dict)

    @property
    def sizes(self) -> Sizes:
        """Those of its L1s, which all have the same."""
        return next((one.sizes for one in self.parts.values()), USUAL)

    def one_of(self, labs: int, number: int, cpus: tuple[int, ...]) -> LabSpec:
        """The so-maniest of several labs side by side, from 0, on CPUs of its own."""
        if labs == 1:
            return replace(self, cpus=cpus)
        return replace(
            self,
            socket=f"{self.socket}-{number}",
            boots={name: self.boots.get(name, 0) + number + 1 - labs for name in self.parts},
            boot_step=labs,
            cpus=cpus,
        )

    def dump(self) -> str:
        """One line of JSON."""
        return json.dumps(encode(self))


def parse_lab_spec(text: str) -> LabSpec:
    """The inverse of ``LabSpec.dump``."""
    return decode(LabSpec, json.loads(text))


@dataclass(frozen=True)
class Acquired:
    """An L1 to measure in: which boot of its kernel it is, where its console is, and what it says it is.

    ``request`` is the number of KVM_REQ_TLB_FLUSH in its kernel, ``l2_kernel`` what each L2 must run,
    ``digests`` are those of what it runs with, by name.
    ``watched`` are functions of its kernel whose calls can be counted. ``sizes`` are those it was given, and
    ``cpus`` the CPUs of L0 that its lab has for itself.
    """

    boot: int
    boot_seconds: float
    console: Path
    hello: Hello
    vendor: Vendor
    request: int
    l2_kernel: L2Kernel
    digests: Mapping[str, str]
    watched: tuple[Watched, ...] = ()
    sizes: Sizes = USUAL
    cpus: tuple[int, ...] = ()
