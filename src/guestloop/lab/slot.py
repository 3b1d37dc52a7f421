# SPDX-License-Identifier: GPL-2.0-or-later
"""The L1 of one kernel: booted when first needed, booted again after it broke."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar

from guestloop.ground import threads
from guestloop.ground.errors import GuestloopError, L1Ended, L1Panicked, L1Rebooted, MachineFault, NotBooted
from guestloop.ground.usage import Threads, read_threads, total
from guestloop.lab.pace import boot_speed
from guestloop.lab.spec import Acquired, LabSpec
from guestloop.vm.l1 import Machine

T = TypeVar("T")

MAX_FAILED_BOOTS = 2
ENDS = (L1Ended, L1Panicked, L1Rebooted, MachineFault)


class Slot:
    """Keeps one L1 of one kernel alive between rounds.

    Nothing ends unseen: an L1 that broke after its last round was concluded is reported to the next one,
    and only then is another one booted.
    """

    def __init__(self, spec: LabSpec, kernel: str) -> None:
        self._spec, self._kernel = spec, kernel
        self._lock = threading.Lock()
        self._machine: Machine | None = None
        self._boots, self._failed = spec.boots.get(kernel, 0), 0
        self._failure: NotBooted | None = None  # of the last boot
        self._used = False
        self._told = False  # a round was told how the L1 ended
        self._reported = 0  # warnings on the console that a round has been told of
        self._late: list[str] = []
        self.boot_speed = 1.0

    @property
    def machine(self) -> Machine:
        """The L1 that ``acquire`` returned. Raises L1Ended when there is none."""
        machine = self._machine  # once: another thread may drop it
        if machine is None:
            raise L1Ended(f"L1 {self._kernel} is not running")
        return machine

    @property
    def pid(self) -> int | None:
        """The process of its QEMU, None while there is none."""
        machine = self._machine
        return machine.process.pid if machine else None

    def usage(self) -> Threads:
        """What the threads of its QEMU have used so far; none when there is none."""
        pid = self.pid
        return read_threads(pid) if pid else {}

    def boot_ahead(self) -> None:
        """Boot the L1 before it is asked for. What fails is tried again for the round that asks."""
        with self._lock, suppress(GuestloopError):
            self._machine = self._machine or self._boot()

    def acquire(self, fresh: bool = False) -> Acquired:
        """A living L1 without guests: boots one when there is none, or none unused and ``fresh`` is wanted.

        Raises L1Panicked, L1Rebooted or L1Ended when the last one broke since its round ended, and NotBooted
        when it does not boot; after two failed boots in a row it is not tried again.
        """
        with self._lock:
            self._look_after_the_last()
            if fresh and self._used:
                self._drop()
            machine = self._machine = self._machine or self._boot()
            self._noting_its_end(machine.agent.system.rearm_warnings)
        return Acquired(
            boot=self._boots,
            boot_seconds=machine.boot_seconds,
            console=machine.console.path,
            hello=machine.hello,
            vendor=self._spec.vendor,
            request=self._spec.requests[self._kernel],
            l2_kernel=self._spec.l2_kernel,
            digests=self._spec.digests,
            watched=self._spec.watched.get(self._kernel, ()),
            sizes=self._spec.parts[self._kernel].sizes,
            cpus=self._spec.cpus,
        )

    def _look_after_the_last(self) -> None:
        """Drop an L1 that is of no use any more; raise how it ended unless a round was told."""
        if self._machine is None:
            return
        try:
            self._machine.check_alive()
            self._machine.agent.guests.stop_all()  # a test that was killed may have left some
        except ENDS:
            told, self._told = self._told, True
            self._drop()
            if not told:
                raise
        except GuestloopError:
            self._drop()

    def _boot(self) -> Machine:
        if self._failed >= MAX_FAILED_BOOTS and self._failure:
            raise self._failure
        self._boots += self._spec.boot_step
        try:
            directory = self._spec.directory / f"{self._kernel}.{self._boots}"
            machine = Machine(self._spec.parts[self._kernel], directory)
        except GuestloopError as error:
            self._failed += 1
            what = f"L1 {self._kernel} did not boot: {error}"
            self._failure = NotBooted(what, hint=error.hint, traceback=error.traceback)
            raise self._failure from error
        self._failed, self._failure = 0, None
        self._used, self._told, self._reported = False, False, 0
        usage, scale = total(read_threads(machine.process.pid)), self._spec.parts[self._kernel].sizes.scale
        self.boot_speed = max(self.boot_speed, boot_speed(usage, scale))
        return machine

    def call(self, method: str, params: Mapping[str, object], timeout_s: float) -> object:
        """Call the agent of the L1 that ``acquire`` returned; never boots."""
        self._used = True
        return self._noting_its_end(lambda: self.machine.call(method, params, timeout_s))

    def conclude(self) -> list[str]:
        """End a round: its guests, then everything that the kernel has to say about it.

        Returns the complaints of L1's kernel since the last round was concluded. Raises L1Panicked and its
        like when L1 did not survive, and InternalError when a thread of the agent or of the lab died; the
        complaints are then left to the next round.
        """
        self._noting_its_end(self.machine.end_of_round)
        threads.raise_kept("the lab process")
        return self.new_warnings()

    def new_warnings(self) -> list[str]:
        """Complaints of L1's kernel on its console that were not returned before."""
        if self._machine is None:
            return []
        warnings = self._machine.console.warnings()
        fresh, self._reported = warnings[self._reported :], len(warnings)
        return fresh

    def throttle_swap(self, reads_per_second: int) -> None:
        """Limit the reads of the L1's swap disk (0: no limit)."""
        self._noting_its_end(lambda: self.machine.throttle_swap(reads_per_second))

    def set_pace(self, pace: float, slowdown: float) -> None:
        """Report the pace to the agent. One that is gone, or hangs, needs none."""
        machine = self._machine
        if machine:
            with suppress(GuestloopError):
                machine.set_pace(pace, slowdown)

    def _noting_its_end(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except ENDS:
            self._told = True
            raise

    def _drop(self) -> None:
        """End the L1. What its kernel complained of since the last round is kept for ``close``."""
        if self._machine:
            if not self._told:
                self._late += self.new_warnings()
            self._machine.close()
            self._machine = None

    def close(self) -> list[str]:
        """End it; returns what no round was told: complaints of its kernel, and how it ended."""
        with self._lock:
            if self._machine and not self._told:
                try:
                    self._machine.check_alive()
                except ENDS as error:
                    self._late.append(error.first_line)
            self._drop()
            return self._late
