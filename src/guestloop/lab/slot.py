"""The L1 of one kernel: booted when first needed, booted again after it broke."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

from guestloop.ground.errors import GuestloopError, L1Ended, L1Panicked, L1Rebooted, NotBooted
from guestloop.lab.pace import boot_speed, read_usage
from guestloop.lab.services import Acquired
from guestloop.lab.spec import LabSpec
from guestloop.vm.l1 import Machine

T = TypeVar("T")

MAX_FAILED_BOOTS = 2
ENDS = (L1Ended, L1Panicked, L1Rebooted)


class Slot:
    """Keeps one L1 of one kernel alive between rounds.

    Nothing ends unseen: an L1 that broke after its last round was concluded is reported to the next one,
    and only then is another one booted.
    """

    def __init__(self, spec: LabSpec, kernel: str) -> None:
        self._spec, self._kernel = spec, kernel
        self._lock = threading.Lock()
        self._machine: Machine | None = None
        self._boots = self._failed = 0
        self._used = False
        self._reported = 0  # warnings on the console that a round has been told of
        self._failure: GuestloopError | None = None
        self.boot_speed = 1.0

    @property
    def machine(self) -> Machine:
        """The L1 that ``acquire`` returned. Raises L1Ended when there is none."""
        if self._machine is None:
            raise L1Ended(f"L1 {self._kernel} is not running")
        return self._machine

    @property
    def pid(self) -> int | None:
        """The process of its QEMU, None while there is none."""
        return self._machine.process.pid if self._machine else None

    def acquire(self, fresh: bool = False) -> Acquired:
        """A living L1 without guests: boots one when there is none, or none unused and ``fresh`` is wanted.

        Raises L1Panicked, L1Rebooted or L1Ended when the last one broke since its round ended, and what the
        boot raised; after two failed boots in a row it is not tried again.
        """
        with self._lock:
            self._look_after_the_last()
            if fresh and self._used:
                self._drop()
            if self._machine is None:
                self._machine = self._boot()
            machine = self._machine
            machine.agent.system.rearm_warnings()
        return Acquired(
            boot=self._boots,
            boot_seconds=machine.boot_seconds,
            console=machine.console.path,
            hello=machine.hello,
            vendor=self._spec.vendor,
            request=self._spec.requests[self._kernel],
        )

    def _look_after_the_last(self) -> None:
        """Drop an L1 that is of no use any more; raise how it ended if no round was told."""
        if self._machine is None:
            return
        try:
            self._machine.check_alive()
            self._machine.agent.guests.stop_all()  # a test that was killed may have left some
        except ENDS as error:
            known, self._failure = self._failure is not None, None
            self._drop()
            if not known:
                raise error
        except GuestloopError:
            self._drop()

    def _boot(self) -> Machine:
        if self._failed >= MAX_FAILED_BOOTS and self._failure:
            raise self._failure
        self._boots += 1
        try:
            directory = self._spec.directory / f"{self._kernel}.{self._boots}"
            machine = Machine(self._spec.parts[self._kernel], directory)
        except GuestloopError as error:
            self._failed += 1
            self._failure = NotBooted(f"L1 {self._kernel} did not boot: {error}", hint=error.hint)
            raise self._failure from error
        self._failed, self._failure = 0, None
        self._used, self._reported = False, 0
        self.boot_speed = max(self.boot_speed, boot_speed(read_usage(machine.process.pid)))
        return machine

    def call(self, method: str, params: Mapping[str, object], timeout_s: float) -> object:
        """Call the agent of the L1 that ``acquire`` returned; never boots."""
        self._used = True
        return self._noting_its_end(lambda: self.machine.call(method, params, timeout_s))

    def conclude(self) -> list[str]:
        """End a round: its guests, then everything that the kernel has to say about it.

        Returns the complaints of L1's kernel since the last round was concluded. Raises L1Panicked and its
        like when L1 did not survive.
        """
        self._noting_its_end(self.machine.end_of_round)
        return self.new_warnings()

    def new_warnings(self) -> list[str]:
        """Complaints of L1's kernel on its console that were not returned before."""
        if self._machine is None:
            return []
        warnings = self._machine.console.warnings()
        fresh, self._reported = warnings[self._reported :], len(warnings)
        return fresh

    def _noting_its_end(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except ENDS as error:
            self._failure = error  # the caller is told
            raise

    def _drop(self) -> None:
        if self._machine:
            self._machine.close()
            self._machine = None

    def close(self) -> list[str]:
        """End it; returns what its kernel complained of since the last round was concluded."""
        with self._lock:
            late: list[str] = []
            if self._machine and self._failure is None:
                try:
                    self._machine.check_alive()
                    late = self.new_warnings()
                except ENDS as error:
                    late = [error.first_line]
            self._drop()
            return late
