# SPDX-License-Identifier: GPL-2.0-or-later
"""One L1: boot it, talk to its agent, notice when it breaks, end it."""

from __future__ import annotations

import math
import os
import socket
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guestloop.agent.services import Agent
from guestloop.ground import proc
from guestloop.ground.errors import (
    Disconnected,
    GuestloopError,
    L1Ended,
    L1Panicked,
    L1Rebooted,
    LabError,
    MachineFault,
    NotBooted,
    describe_status,
)
from guestloop.ground.qmp import Qmp
from guestloop.ground.rpc import client
from guestloop.ground.units import MIB
from guestloop.ground.usage import read_threads, total
from guestloop.ground.wait import clock, wait_for
from guestloop.vm.argv import SWAP_SERIAL, L1Spec, l1_argv, l1_command_line
from guestloop.vm.boot import BootVigil, Progress
from guestloop.vm.clock import ClockReading, clock_error, read_clock
from guestloop.vm.console import Console
from guestloop.vm.forward import forwarded_port
from guestloop.vm.parts import L1Parts

if TYPE_CHECKING:
    from guestloop.vm.link import Link

LOGIN_S = 120.0  # from sshd's start to the agent's first answer
ENDING_S = 2.0
QUIT_S = 5.0
DRAIN_S = 60.0
PACE_S = 5.0  # what the way of an answer may take on a busy machine
READY_MARKER = "guestloop-init: agent and sshd started"


class Machine:
    """A running L1, booted as far as a loaded KVM. Closing it ends QEMU softly (QMP quit), then hard."""

    def __init__(self, parts: L1Parts, directory: Path) -> None:
        self.parts, self.directory = parts, directory
        directory.mkdir(parents=True, exist_ok=True)
        self.console = Console(directory / "console.log")
        self.output = directory / "qemu.log"
        self._stack = ExitStack()
        self._rounds = 0
        started = time.monotonic()
        try:
            self._launch()
            self._vigil: BootVigil | None = BootVigil(self._progress(), self.parts.sizes.scale)
            self._link = self._connect()
            self.agent = client(Agent, self.call)
            self.hello = self.agent.system.hello()
            self._first_clock = self._read_clock()
            self._check_kernel()
            self._check_cpus()
            self._check_command_line()
            self.agent.kvm.try_out()
            self.agent.memory.swap_on(SWAP_SERIAL)
            self._vigil = None
        except BaseException:
            self.close()
            raise
        self.boot_seconds = time.monotonic() - started

    def _launch(self) -> None:
        swap = tempfile.TemporaryFile(dir=self.directory)  # noqa: SIM115 - lives as long as L1
        self._stack.callback(swap.close)
        swap.truncate(self.parts.sizes.l1_swap_mib * MIB)
        ours, theirs = socket.socketpair()
        descriptors = [theirs.fileno(), swap.fileno()]
        with theirs:
            _make_swap(swap.fileno())
            spec = L1Spec(
                name=self.parts.name,
                program=self.parts.program,
                cpu_argv=self.parts.cpu_argv,
                kernel_words=self.parts.kernel_words,
                kernel=self.parts.kernel,
                root=self.parts.root,
                payload=self.parts.payload,
                console=self.console.path,
                qmp_fd=descriptors[0],
                swap_fd=descriptors[1],
                initramfs=self.parts.initramfs,
                sizes=self.parts.sizes,
            )
            argv, self._told = l1_argv(spec), l1_command_line(spec)
            (self.directory / "argv").write_text(proc.paste(argv) + "\n")
            output = self._stack.enter_context(self.output.open("wb"))
            self.process = self._stack.enter_context(
                proc.spawn(argv, stdout=output, pass_fds=[*descriptors, *self.parts.inherited], quick=True)
            )
        try:
            self.qmp = Qmp(self.parts.name, ours)
        except GuestloopError as error:
            raise L1Ended(f"L1 {self.parts.name}: QEMU did not start\n{self._why()}") from error
        self._stack.callback(self._quit)

    def _connect(self) -> Link:
        # With paramiko, which takes as long as all else that the lab imports: L1 boots meanwhile.
        from guestloop.vm.link import Link

        def sshd_is_near() -> bool | None:
            self._look_at_boot()
            return True if self.console.has(READY_MARKER) else None

        # A boot that gets on is waited for; the vigil ends one that does not.
        wait_for(f"L1 {self.parts.name} to boot", sshd_is_near, math.inf, interval=0.02)
        link = Link(
            self.parts.name,
            forwarded_port(self.qmp, f"L1 {self.parts.name}"),
            self.parts.keys,
            LOGIN_S,
            self._look_at_boot,
        )
        self._stack.callback(link.close)
        return link

    def _look_at_boot(self) -> None:
        """Raise how L1 ended, or NotBooted when it hangs."""
        self.check_alive()
        if self._vigil and (reason := self._vigil.look(self._progress())):
            raise NotBooted(f"L1 {self.parts.name} hangs: {reason}\n{self._why()}")

    def _progress(self) -> Progress:
        usage = total(read_threads(self.process.pid))
        return Progress(time.monotonic(), self.console.size(), usage)

    def _check_kernel(self) -> None:
        seen = self.hello.build_id
        if seen != self.parts.build_id:
            raise LabError(
                f"L1 {self.parts.name} runs another kernel than was built: build id {seen or 'none'}, "
                f"wanted {self.parts.build_id}"
            )

    def _check_cpus(self) -> None:
        """A kernel brings up no more than CONFIG_NR_CPUS, and says nothing about it that stops a run."""
        seen, given = self.hello.cpus, self.parts.sizes.l1_cpus
        if seen != given:
            raise LabError(
                f"L1 {self.parts.name} uses {seen} CPUs, it was given {given}",
                hint="kernels with fewer CPUs than others cannot be compared: see CONFIG_NR_CPUS of this one",
            )

    def _check_command_line(self) -> None:
        """A kernel may have one of its own (CONFIG_CMDLINE_OVERRIDE)."""
        seen = self.agent.system.boot_facts()["command_line"]
        if ignored := set(self._told.split()) - set(seen.split()):
            raise LabError(
                f"L1 {self.parts.name} has another command line than it was given: without "
                f"{' '.join(sorted(ignored))}",
                hint=f"is CONFIG_CMDLINE_OVERRIDE set? It reads: {seen}",
            )

    def call(self, method: str, params: Mapping[str, Any], timeout_s: float) -> Any:
        """Call the agent by the name of the method; ``agent`` does it by types.

        Raises what the agent raised; a panic, or the end of QEMU, is raised in its place.
        """
        try:
            return self._link.call(method, params, timeout_s, self._look)
        except GuestloopError:
            if self._link.lost:  # the connection ends a moment before the process can be seen to have
                self._give_time_to_end(ENDING_S)
            self.check_alive()
            raise

    def _read_clock(self) -> ClockReading:
        return read_clock(lambda: self.agent.system.hello().uptime_s)

    def _check_clock(self) -> None:
        """Raises LabError when L1's clock is wrong."""
        if error := clock_error(self._first_clock, self._read_clock()):
            raise LabError(
                f"the clock of L1 {self.parts.name} is wrong: {error}",
                hint="was the TSC of this L1 calibrated on a busy machine? See machines/tsc.py",
            )

    def end_of_round(self) -> None:
        """End the guests that are left, and have everything that L1's kernel has to say on the console.

        A line is written to the kernel's log and waited for on the console: what was printed before it is
        there then. Raises L1Panicked, L1Rebooted or L1Ended when it did not survive the end of its guests,
        and InternalError when a thread of its agent died.
        """
        self._rounds += 1
        self._check_clock()
        marker = f"guestloop: end of round {self._rounds}"
        self.agent.guests.stop_all()
        self.agent.system.write_console(marker)

        def drained() -> bool | None:
            self.check_alive()
            return True if self.console.has(marker) else None

        wait_for(f"the console of L1 {self.parts.name} to show {marker!r}", drained, DRAIN_S)
        self.agent.system.raise_faults()

    def _look(self) -> None:
        """A kernel that panicked may hang instead of ending QEMU; nobody would answer then."""
        if self.console.panic():
            self._give_time_to_end(ENDING_S)  # and for the rest of what it says
            self.check_alive()
        if self._vigil:
            self._look_at_boot()

    def _give_time_to_end(self, seconds: float) -> None:
        with suppress(proc.STILL_RUNNING):
            self.process.wait(seconds * clock.pace)

    def throttle_swap(self, reads_per_second: int) -> None:
        """Limit the reads of L1's swap disk (0: no limit), so that pages take their time to come back."""
        limits = dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_wr"), 0)
        # A virtio device's back end is a device of its own, which is the one that has the disk.
        backend = f"/machine/peripheral/{SWAP_SERIAL}/virtio-backend"
        arguments = {"id": backend, **limits, "iops_rd": reads_per_second}
        try:
            # a command that is older than the rule of hyphens
            self.qmp.execute_as_spelt("block_set_io_throttle", arguments)
        except Disconnected:
            self._give_time_to_end(ENDING_S)
            self.check_alive()
            raise

    def set_pace(self, pace: float, slowdown: float) -> None:
        """Report to the agent how much slower than usual L0 lets this L1 run, see lab/pace.py.

        Bounded, because an agent that hangs must not keep the others from being told.
        """

        def call_briefly(method: str, params: Mapping[str, Any], timeout_s: float) -> Any:
            return self.call(method, params, min(timeout_s, PACE_S))

        client(Agent, call_briefly).system.set_pace(pace, slowdown)

    def check_alive(self) -> None:
        """Raise L1Panicked, MachineFault, L1Rebooted or L1Ended when this L1 is not what it was.

        QEMU is told not to reboot, so that a triple fault ends it with status 0.
        """
        name, status = self.parts.name, self.process.poll()
        if panic := self.console.panic():
            if fault := self.console.line_with(self.parts.machine_faults):
                what = f"L1 {name} died of a known fault of the machine that runs it: {fault}"
                raise MachineFault(f"{what}\n{self._why()}")
            raise L1Panicked(f"L1 {name} panicked: {panic}\n{self._why()}")
        if status == 0:
            what = f"L1 {name} reset itself without being asked (QEMU: exit status 0)"
            raise L1Rebooted(f"{what}\n{self._why()}")
        if status is not None:
            raise L1Ended(f"L1 {name}: QEMU ended ({describe_status(status)})\n{self._why()}")

    def _why(self) -> str:
        output = self.output.read_text(errors="replace").splitlines() if self.output.exists() else []
        lines = [f"  qemu | {line}" for line in output[-10:]]
        return "\n".join([*lines, self.console.tail()])

    def _quit(self) -> None:
        with suppress(GuestloopError):
            self.qmp.execute("quit", QUIT_S)
        self._give_time_to_end(QUIT_S)
        self.qmp.close()

    def close(self) -> None:
        """End QEMU and drop everything that belongs to it."""
        self._stack.close()


def _make_swap(descriptor: int) -> None:
    """Write the swap header through the descriptor: the file has no name."""
    path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
    proc.run(["mkswap", path], timeout_s=30)
