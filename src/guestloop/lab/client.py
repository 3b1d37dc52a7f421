# SPDX-License-Identifier: GPL-2.0-or-later
"""What a test uses: an L1 of the lab, and the L2 guests in it."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from guestloop import counters
from guestloop.agent.guests import COMMAND_S
from guestloop.agent.memory import PageOut
from guestloop.agent.page_sizes import PageSizes
from guestloop.agent.services import Agent
from guestloop.agent.settings import Setting
from guestloop.ground.errors import (
    GuestCrashed,
    GuestError,
    GuestFailed,
    GuestKilled,
    GuestloopError,
    LabError,
    Lacking,
)
from guestloop.ground.rpc import Caller, client
from guestloop.ground.usage import Threads
from guestloop.ground.wait import Deadline, clock, wait_for
from guestloop.ground.words import parse_words
from guestloop.lab.services import LabServices
from guestloop.lab.spec import SOCKET_VARIABLE
from guestloop.machines.layout import list_cpus
from guestloop.results.cells import Mmu
from guestloop.results.changes import Probed
from guestloop.results.records import BOOT, DIGEST, L2_BUILD_ID, SETTINGS, VMLINUX_BUILD_ID
from guestloop.vm.argv import Incoming, L2Spec, l2_argv

LAB_CPUS = "lab.cpus"
"""The fact of a round that says which CPUs of L0 its lab had for itself."""

PACE_S = 1.0
ASK_S = 60.0
GUEST_ENDS = (GuestCrashed, GuestKilled, GuestFailed)

logger = logging.getLogger("guestloop.lab")  # ends up in the test's debug.log


class Connection:
    """A connection to the lab, as ``lab``: what it raises is what happened there. LabError without a lab.

    The pace that the lab has measured is taken over while it is waited for, so that deadlines of this process
    do not end before those of the lab and of the agent.
    """

    def __init__(self, name: str) -> None:
        self._caller = self._connect(name)
        self.lab = client(LabServices, self._call).lab
        self._asking = client(LabServices, self._ask).lab
        self._pace_is_old = Deadline(0)
        self._served = False  # the lab serves one connection at a time: is it this one's turn?

    def _connect(self, name: str) -> Caller:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

        def attempt() -> bool | None:
            try:
                self._socket.connect(f"\0{name}")
            except ConnectionRefusedError:
                return None
            return True

        wait_for("the lab process to listen", attempt, 30.0)
        return Caller("the lab process", self._socket.sendall, self._socket.makefile("rb"))

    def _call(self, method: str, params: Mapping[str, Any], timeout_s: float) -> Any:
        """What was asked, and how long it took, is logged."""
        started = time.monotonic()
        self._keep_pace()
        try:
            return self._caller.call(method, params, timeout_s, self._keep_pace)
        finally:
            self._served = True
            logger.debug("%s: %.2f s", render_request(method, params), time.monotonic() - started)

    def _keep_pace(self) -> None:
        """Take over the lab's pace, once a second. Raises TimedOut when it does not even answer this."""
        if self._served and self._pace_is_old.passed:
            clock.pace = self._asking.pace()
            self._pace_is_old = Deadline(PACE_S)

    def _ask(self, method: str, params: Mapping[str, Any], timeout_s: float) -> Any:
        return self._caller.call(method, params, min(timeout_s, ASK_S))

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def render_request(method: str, params: Mapping[str, Any]) -> str:
    """A request in short: ``unpatched guests.command l2 stop``."""
    inner = params.get("params", {})
    words = [params.get("kernel"), params.get("method", method), inner.get("name"), inner.get("line")]
    return " ".join(word for word in words if word)


def connect() -> Connection:
    """Connect to the lab of this run."""
    name = os.environ.get(SOCKET_VARIABLE)
    if not name:
        raise LabError(
            f"no lab is running ({SOCKET_VARIABLE} is not set)",
            hint="start the tests with scripts/run, or with 'avocado run -m avocado.yaml -- tests/'",
        )
    return Connection(name)


class L1:
    """The L1 of one kernel; ``fresh`` has it booted anew.

    ``agent`` calls its agent. ``boot`` counts its boots in this run, ``request`` is the number of
    KVM_REQ_TLB_FLUSH in its kernel, ``facts`` what was read back from it (releases, build ids, parameters),
    what it runs with, what kernel its L2s run, and how large it is. ``sizes`` are those of the run.
    ``absent_paths`` are the call paths that its KVM has no functions for; it is empty before ``set_mmu``.
    """

    def __init__(self, connection: Connection, kernel: str, *, fresh: bool = False) -> None:
        self._lab, self.kernel = connection.lab, kernel
        seen = self._lab.acquire(kernel, fresh)
        self.boot, self.console, self.request = seen.boot, seen.console, seen.request
        self.sizes = seen.sizes
        self._vendor, self._l2_kernel, self._watched = seen.vendor, seen.l2_kernel, seen.watched
        own = {"release": seen.hello.release, VMLINUX_BUILD_ID: seen.hello.build_id}
        digests = {f"{DIGEST}{name}": digest for name, digest in seen.digests.items()}
        sizes = replace(seen.sizes, l1_cpus=seen.hello.cpus).facts  # as it says itself
        cpus = {LAB_CPUS: list_cpus(seen.cpus)} if seen.cpus else {}
        self.facts = own | digests | seen.l2_kernel.facts | dict(sizes) | cpus
        self.absent_paths: tuple[str, ...] = ()
        self._probed = False
        self.agent = client(Agent, self._call)

    def _call(self, method: str, params: Mapping[str, Any], timeout_s: float) -> Any:
        return self._lab.call(self.kernel, method, dict(params), timeout_s)

    def require(self, mmu: Mmu) -> None:
        """Raise Lacking for a mode that L1's KVM, being of this vendor, never has. L1 is not asked."""
        if lacks := mmu.lacks(self._vendor.module):
            raise Lacking(lacks)

    def set_mmu(self, mmu: Mmu, *, watch: bool = False) -> None:
        """Have KVM loaded for this MMU mode; its parameters as read back are added to ``facts``.

        ``watch``: calls of the functions that differ between the kernels of the run are counted. Raises
        Lacking when this CPU has not what the mode needs.
        """
        self.require(mmu)
        self._probed = watch
        self.agent.kvm.watch(self._watched if watch else ())
        parameters = mmu.parameters(self._vendor.module)
        self.facts |= self.agent.kvm.load(mmu.value, parameters)
        self.absent_paths = counters.absent_paths(self.agent.kvm.functions(list(counters.FUNCTIONS)))

    def read_probed(self) -> Probed:
        """What the probes have seen in this round, see ``set_mmu``."""
        hits = self.agent.changed.read()
        return Probed(hits.counts, hits.unprobed, hits.disturbing)

    def begin_counting(self) -> None:
        """What is counted from here on must not be disturbed by probes, as far as that can be helped."""
        if self._probed:
            self.agent.changed.begin_counting()

    def end_counting(self) -> None:
        """What probes see from here on disturbs nothing."""
        if self._probed:
            self.agent.changed.end_counting()

    def lay_ground(self) -> None:
        """Have the settings of its kernel as they usually are.

        They are added to ``facts`` as they read back, and so is what the kernel was told at boot.
        """
        self.facts |= {f"{BOOT}{name}": value for name, value in self.agent.system.boot_facts().items()}
        self._note_settings(self.agent.settings.lay_ground())

    @contextmanager
    def changed(self, wanted: Mapping[Setting, str]) -> Iterator[Mapping[str, str]]:
        """Some settings otherwise while the body runs, which is given what reads back by their names."""
        if not wanted:
            yield {}
            return
        seen = self.agent.settings.change(dict(wanted))
        self._note_settings(seen)
        try:
            yield seen
        finally:
            with suppress(GuestloopError):  # an L1 that is gone has no settings
                self.agent.settings.change({setting: setting.usual for setting in wanted})

    def _note_settings(self, seen: Mapping[str, str]) -> None:
        self.facts |= {f"{SETTINGS}{name}": value for name, value in seen.items()}

    def throttle_swap(self, reads_per_second: int) -> None:
        """Have L0 limit the reads of L1's swap disk; 0: no limit."""
        self._lab.throttle_swap(self.kernel, reads_per_second)

    def usage(self) -> Threads:
        """CPU time that the threads of its QEMU got and waited for so far; none when it has ended."""
        return self._lab.usage(self.kernel)

    def conclude(self) -> list[str]:
        """End the round: its guests, and then what L1's kernel complained of since the last round.

        Raises L1Panicked and its like when L1 did not survive it.
        """
        return self._lab.conclude(self.kernel)

    def launch(self, spec: L2Spec) -> None:
        """Begin to start an L2 that ``guest`` will be asked for, while something else is done."""
        self.agent.guests.launch(spec.name, l2_argv(spec))

    @contextmanager
    def guest(self, spec: L2Spec) -> Iterator[L2]:
        """A running L2, ended when the body is left.

        Raises GuestCrashed and its like when the guest had ended by itself, also in place of what the body
        raised because of that. Otherwise an error of the body goes before one of ending the guest. Raises
        LabError for an L2 that runs another kernel than was built for L2s.
        """
        started = self.agent.guests.start(spec.name, l2_argv(spec), spec.incoming is not Incoming.NO)
        if started.attempts > 1:
            self.facts[f"l2.{spec.name}.attempts"] = f"{started.attempts}"
        try:
            hello = parse_words(started.hello)
            if spec.incoming is Incoming.NO:  # another has no payload yet, and gets the kernel of its source
                self._check_l2_kernel(spec.name, hello.get("build_id", ""))
            yield L2(self, spec, hello, started.seconds)
        except BaseException as error:
            if ended := self._stop_after(error, spec.name):
                raise ended from error
            raise
        self.agent.guests.stop(spec.name)

    def _stop_after(self, error: BaseException, guest: str) -> GuestError | None:
        """End a guest after an error; returns how it had ended before, unless the error says that."""
        try:
            self.agent.guests.stop(guest)
        except GUEST_ENDS as ended:
            explains = isinstance(error, GuestloopError) and not isinstance(error, GUEST_ENDS)
            return ended if explains else None
        except GuestloopError:
            pass  # an L1 that is gone is found when the round is concluded
        return None

    def _check_l2_kernel(self, name: str, seen: str) -> None:
        if seen != self._l2_kernel.build_id:
            raise LabError(
                f"L2 {name} runs another kernel than was built for it: build id {seen or 'none'}, "
                f"wanted {self._l2_kernel.build_id}"
            )
        self.facts[L2_BUILD_ID] = seen


@dataclass(frozen=True)
class L2:
    """A running L2. ``hello`` is what its payload said first, ``start_seconds`` how long that took."""

    l1: L1
    spec: L2Spec
    hello: Mapping[str, str]
    start_seconds: float

    def command(self, line: str, until: str, timeout_s: float = COMMAND_S) -> list[str]:
        """Send the payload a command; returns its lines up to the one that begins with ``until``."""
        return self.l1.agent.guests.command(self.spec.name, line, until, timeout_s)

    def answer(self, line: str, until: str, timeout_s: float = COMMAND_S) -> dict[str, str]:
        """The ``key=value`` words of the last line of ``command``."""
        return parse_words(self.command(line, until, timeout_s)[-1])

    def listen_for(self, verb: str, timeout_s: float = COMMAND_S) -> dict[str, str]:
        """The words of the next line that the payload sends unasked and that begins with ``verb``."""
        return parse_words(self.l1.agent.guests.listen(self.spec.name, verb, timeout_s)[-1])

    def finish_lap(self) -> dict[str, str]:
        """The words of ``stopped``, with which the payload ends the laps that it was told to go."""
        return parse_words(self.l1.agent.guests.finish_lap(self.spec.name)[-1])

    def qmp(self, command: str, **arguments: object) -> Any:
        """Run one QMP command in its QEMU; ``_`` in argument names becomes ``-``."""
        return self.l1.agent.guests.qmp(self.spec.name, command, dict(arguments))

    def counters(self) -> dict[str, int]:
        """KVM's statistics of this guest."""
        return self.l1.agent.guests.counters(self.spec.name)

    def page_sizes(self) -> PageSizes:
        """What sizes of pages its RAM is made of."""
        return self.l1.agent.guests.page_sizes(self.spec.name)

    def page_out(self, timeout_s: float, *, pressure: bool = False) -> PageOut:
        """Page its RAM out of L1's memory."""
        return self.l1.agent.guests.page_out(self.spec.name, self.spec.memory_mib, timeout_s, pressure)
