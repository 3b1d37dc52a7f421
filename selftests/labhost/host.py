# SPDX-License-Identifier: GPL-2.0-or-later
"""One lab host: from power-on to a login, and its end."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from guestloop.cache import Cache
from guestloop.ground import proc
from guestloop.ground.errors import L1Ended, L1Panicked, describe_status
from guestloop.ground.log import step
from guestloop.ground.qmp import Qmp
from guestloop.ground.wait import wait_for
from guestloop.kernels import Kernel
from guestloop.machines.emulated_svm import EmulatedSvm
from guestloop.vm.console import Console
from guestloop.vm.forward import forwarded_port
from labhost.argv import HostSpec, host_argv
from labhost.root import LabRoot
from labhost.session import Session
from labhost.stage import lab_disk

READY = "lab-host: sshd started"
FAILED = "lab-host: FAILED"
BOOT_S = 120.0  # without anything new on the console
LOGIN_S = 120.0
EXPECT_S = 20.0
MEMORY_MIB, CPUS = 4096, 2


@dataclass(frozen=True)
class HostParts:
    """What a lab host is made of: the kernel that it runs itself, its root, and its second disk's content."""

    kernel: Kernel
    root: LabRoot
    stage: Path


@contextmanager
def running_host(parts: HostParts, directory: Path, cache: Cache) -> Iterator[Session]:
    """Boot a lab host and log in. It is killed after the body, with everything that it wrote.

    ``directory`` gets its console and what the emulator prints. Raises L1Ended or L1Panicked when it does not
    come up, TimedOut when it hangs.
    """
    directory.mkdir(parents=True)
    with ExitStack() as stack:
        disk = stack.enter_context(lab_disk(parts.stage, parts.kernel))
        with step(f"booting a lab host with {parts.kernel.release}", expect_s=EXPECT_S):
            host = _Host(parts, disk.fileno(), directory, cache, stack)
            session = host.log_in()
        stack.callback(session.close)
        yield session


class _Host:
    """The emulator that runs a host; ``stack`` ends it."""

    def __init__(
        self, parts: HostParts, lab_fd: int, directory: Path, cache: Cache, stack: ExitStack
    ) -> None:
        self._parts = parts
        self._console, self._output = Console(directory / "console.log"), directory / "qemu.log"
        machine = EmulatedSvm()
        ours, theirs = socket.socketpair()
        with theirs:
            spec = HostSpec(
                program=machine.find_qemu(cache).program,
                cpu_argv=machine.cpu_argv,
                kernel_words=machine.kernel_words(),
                kernel=parts.kernel.image,
                initramfs=parts.kernel.initramfs,
                root=parts.root.disk,
                console=self._console.path,
                qmp_fd=theirs.fileno(),
                lab_fd=lab_fd,
                memory_mib=MEMORY_MIB,
                cpus=CPUS,
            )
            argv = host_argv(spec)
            (directory / "argv").write_text(proc.paste(argv) + "\n")
            output = stack.enter_context(self._output.open("wb"))
            inherited = (theirs.fileno(), lab_fd)
            self._process = stack.enter_context(
                proc.spawn(argv, stdout=output, pass_fds=inherited, quick=True)
            )
        self._qmp = Qmp("lab host", ours)
        stack.callback(self._qmp.close)

    def log_in(self) -> Session:
        wait_for(
            "the lab host to boot",
            self._sshd_is_up,
            BOOT_S,
            progress=self._console.size,
            last_seen=self._console.tail,
        )
        port = forwarded_port(self._qmp, "the lab host")
        return Session(port, self._parts.root.keys, LOGIN_S, self._why)

    def _sshd_is_up(self) -> bool | None:
        if panic := self._console.panic():
            raise L1Panicked(f"the lab host panicked: {panic}\n{self._why()}")
        if (status := self._process.poll()) is not None:
            raise L1Ended(f"the lab host: QEMU ended ({describe_status(status)})\n{self._why()}")
        if failed := self._console.line_with([FAILED]):
            raise L1Ended(f"the lab host did not come up: {failed}\n{self._why()}")
        return True if self._console.has(READY) else None

    def _why(self) -> str:
        output = self._output.read_text(errors="replace").splitlines()[-10:]
        return "\n".join([*(f"  qemu | {line}" for line in output), self._console.tail()])
