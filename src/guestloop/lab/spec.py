# SPDX-License-Identifier: GPL-2.0-or-later
"""What a lab is told when it starts, how a test finds it, and what it returns for an L1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from guestloop.agent.changed import Watched
from guestloop.agent.system import Hello
from guestloop.ground.codec import decode, encode
from guestloop.machines.host import Vendor
from guestloop.results.plan import L2Kernel
from guestloop.vm.parts import L1Parts

# How a test process finds the lab of its run and where results go.
SOCKET_VARIABLE = "GUESTLOOP_LAB"
OUT_VARIABLE = "GUESTLOOP_OUT"


@dataclass(frozen=True)
class LabSpec:
    """The L1s by kernel name, and the directory for their consoles.

    ``socket`` is a name in the abstract namespace: it has no file that could be left behind.
    ``requests`` gives the number of KVM_REQ_TLB_FLUSH per kernel. ``l2_kernel`` is what each L2 must run,
    ``digests`` are those of the plan. ``boots`` is how often the L1 of a kernel was booted by an earlier lab,
    whose run is resumed.
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
    watched: Mapping[str, tuple[Watched, ...]] = field(default_factory=dict)

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
    ``watched`` are functions of its kernel whose calls can be counted.
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
