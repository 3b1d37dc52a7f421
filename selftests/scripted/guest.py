# SPDX-License-Identifier: GPL-2.0-or-later
"""A scripted L2: QEMU and the payload in it, below the agent's own ``Guest``."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from guestloop.agent.cgroup import Cgroup
from guestloop.agent.guest import Guest
from guestloop.agent.liveness import IDLE_LIMIT_S, SPIN_LAPS, UNMEASURED_LAP_S, Vitals
from scripted.memory import Pages
from scripted.payload import Payload
from scripted.processes import ScriptedProcess
from scripted.qemu import ScriptedQmp

if TYPE_CHECKING:
    from scripted.machine import ScriptedL1

KVMCLOCK, STEAL_TIME = 0x4B564D01, 0x4B564D03


def number_after(option: str, argv: Sequence[str]) -> int:
    """The number that an option's value begins with: 2 of ``-smp 2,sockets=2``."""
    return int(argv[argv.index(option) + 1].partition(",")[0])


class ScriptedGuest(Guest):
    """Everything of ``Guest`` but what needs a QEMU. A migrated guest has the payload of its source."""

    _threads = itertools.count(5000)

    def __init__(self, l1: ScriptedL1, name: str, argv: Sequence[str], directory: Path) -> None:
        self._l1 = l1
        self._idle_s = self._vcpu_s = 0.0
        super().__init__(name, argv, directory)

    def _open(self, argv: Sequence[str]) -> None:
        words = " ".join(argv)
        self.hugetlb = "hugepages" in words
        self.ram = self.directory / f"{self.name}.ram" if self.ram else None
        self._port, self._far = socket.socketpair()
        self._stack.callback(self._hang_up)
        self.cgroup = Cgroup(self.name, self.directory)  # no directory of cgroups
        self._scripted = ScriptedProcess(self._hang_up)
        self.process = cast(Any, self._scripted)
        vcpus, self.ram_mib = number_after("-smp", argv), number_after("-m", argv)
        self._make_vcpus(vcpus)
        self.scripted_qmp = ScriptedQmp(
            self.name, self._l1.kernel, self._l1.script, self._vcpus, "dirty-ring-size" in words
        )
        self.qmp = self.scripted_qmp
        self._stack.callback(self.qmp.close)
        threading.Thread(target=self._receive, name=f"port-{self.name}", daemon=True).start()
        self.pages = Pages(self.name, self._l1.kernel, self._l1.script)
        if "-incoming" in argv:
            self.payload: Payload | None = None
            self.scripted_qmp.on_cont = self.arrive
        else:
            self.payload = Payload(self.pages, self._l1.script, vcpus, self.die)
            self.payload.attach(self._far)

    def _make_vcpus(self, count: int) -> None:
        """Each tells KVM where its clock and its steal time are, as a kernel does that boots."""
        self._vcpus = [next(self._threads) for _ in range(count)]
        for at, thread in enumerate(self._vcpus):
            area = 0x1000 * (at + 1)
            self._l1.kernel.msr_writes += [(thread, KVMCLOCK, area | 1), (thread, STEAL_TIME, area + 64 | 1)]

    def arrive(self) -> None:
        """The guest that was migrated here runs on; nothing to do when it does already."""
        source = self._l1.source_of(self)
        if self.payload is None and source and source.payload:
            self.payload, self.pages = source.payload, source.pages
            self.payload.attach(self._far)

    def vitals(self) -> Vitals:
        """One that says nothing more idles, or spins, for longer than is allowed; others get on."""
        spins, silent = self._l1.script.spins, bool(self.payload and self.payload.silent)
        self._idle_s += 2 * IDLE_LIMIT_S * (silent and not spins)
        self._vcpu_s += 2 * SPIN_LAPS * UNMEASURED_LAP_S * (silent and spins)
        return Vitals((self._idle_s,), (self._vcpu_s,), visits=77, faults=(9, 8, 0))

    def die(self) -> None:
        """The end that the script has for it."""
        script = self._l1.script
        if script.panic:
            self.console.write_text(f"[    9.0] {script.panic}\n")
        self._scripted.end(script.status)

    def _hang_up(self) -> None:
        """QEMU is gone, and with it its ends of the sockets."""
        self.scripted_qmp.gone = True
        for end in (self._far, self._port):
            with suppress(OSError):  # closed already
                end.shutdown(socket.SHUT_RDWR)
            end.close()
