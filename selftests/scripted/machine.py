# SPDX-License-Identifier: GPL-2.0-or-later
"""A scripted L1: the real ``Machine``, with no QEMU below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from guestloop.agent.changed import Watched
from guestloop.agent.guests import Roster
from guestloop.ground.qmp import Qmp
from guestloop.ground.rpc import Methods
from guestloop.vm.l1 import Machine
from guestloop.vm.link import Link
from guestloop.vm.parts import L1Parts
from scripted.agent import make_agent
from scripted.guest import ScriptedGuest
from scripted.kernel import Kernel
from scripted.processes import ScriptedProcess

if TYPE_CHECKING:
    from scripted.lab import ScriptedLab

REQUEST = 256


class RecordingQmp(Qmp):
    """The QMP of L1's QEMU, which takes everything."""

    def __init__(self) -> None:
        self.executed: list[tuple[str, Mapping[str, object]]] = []

    def execute_as_spelt(self, command: str, arguments: Mapping[str, object], timeout_s: float = 30.0) -> Any:
        self.executed.append((command, arguments))
        return {}


class ScriptedL1(Machine):
    """One boot of a scripted L1."""

    def __init__(self, lab: ScriptedLab, parts: L1Parts, directory: Path) -> None:
        self.lab, self.script = lab, lab.script
        self.kernel, self.roster = Kernel(REQUEST), Roster()
        self.huge_pages = False
        self.units: dict[str, int] = {}
        self.moving = "", ""
        self.watched: tuple[Watched, ...] = ()
        super().__init__(parts, directory)

    def _launch(self) -> None:
        self._scripted = ScriptedProcess(self._hang_up)
        self.process = cast(Any, self._scripted)
        self._told = "console=ttyS0 nokaslr"
        self.recorded = self.qmp = RecordingQmp()
        self.print("[    0.1] scripted: booted")

    def _connect(self) -> Link:
        link = self.lab.make_link(self.parts.name, Methods(make_agent(self, self.directory)))
        self._stack.callback(link.close)
        return link

    def _hang_up(self) -> None:
        self._link.close()

    def call(self, method: str, params: Mapping[str, Any], timeout_s: float) -> Any:
        """Recorded; what a test has planned for this method happens first."""
        self.lab.note(self, method, params)
        return super().call(method, params, timeout_s)

    def guest(self, name: str) -> ScriptedGuest:
        """A guest that runs."""
        return cast(ScriptedGuest, self.roster[name])

    def source_of(self, destination: ScriptedGuest) -> ScriptedGuest | None:
        """The guest that is migrated to this one."""
        source, there = self.moving
        return self.guest(source) if there == destination.name else None

    # --- what may befall it

    def print(self, line: str) -> None:
        """On its console."""
        with self.console.path.open("a") as console:
            console.write(f"{line}\n")

    def warn(self, line: str = "WARNING: CPU: 1 PID: 99 at arch/x86/kvm/mmu/mmu.c:1234") -> None:
        """Its kernel complains, and goes on."""
        self.print(f"[    8.0] {line}")

    def panic(self, line: str = "Kernel panic - not syncing: Fatal exception") -> None:
        """Its kernel ends, and QEMU, which does not reboot, with it."""
        self.print(f"[    9.0] {line}")
        self.end(0)

    def end(self, status: int) -> None:
        """Its QEMU ends; with status 0 it reset itself."""
        self._scripted.end(status)


Befall = Callable[[ScriptedL1], object]
