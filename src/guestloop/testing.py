# SPDX-License-Identifier: GPL-2.0-or-later
"""``GuestTest``: one round of one cell on one kernel, as an Avocado test.

The only module of the measuring path that knows Avocado. Parameters are flat and unique:
``kernel``, ``mmu``, ``round``, ``repeats``, and the axes of the test's variant.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from avocado import Test
from avocado.core.exceptions import TestBaseException

from guestloop.ground.errors import GuestloopError, LabError, Lacking
from guestloop.ground.wait import clock
from guestloop.lab.client import L1, connect
from guestloop.lab.spec import OUT_VARIABLE
from guestloop.results.cells import Mmu
from guestloop.results.findings import FindingKind
from guestloop.results.records import Correctness, Outcome, Round, write_round
from guestloop.workloads.catalog import AXES, cell_of
from guestloop.workloads.measuring import FINDINGS, Measuring

ENDS = (
    FindingKind.L1_ENDED,
    FindingKind.L1_PANICKED,
    FindingKind.L1_REBOOTED,
    FindingKind.MACHINE_FAULT,
    FindingKind.LINK_LOST,
)


class GuestTest(Test):  # type: ignore[misc]
    """Base of all guest-in-the-loop tests.

    A subclass says what it is by its tags (the test, and ``load:NAME``) and does its work inside
    ``with self.round() as this``. Whatever happens, a round is written: measured, invalid (with what
    was not proven or what broke) or skipped.
    """

    timeout = 1800.0  # a backstop: what a round waits for has bounds of its own

    def setUp(self) -> None:
        self._stack = ExitStack()
        self._ending = threading.Lock()
        out = os.environ.get(OUT_VARIABLE)
        if not out:
            raise LabError(f"{OUT_VARIABLE} is not set", hint="start the tests with scripts/run or avocado")
        self._out = Path(out)
        self.this = Measuring(
            cell=cell_of(self.tags, self.params.get("mmu", default=Mmu.TDP), self._axes()),
            kernel=self.params.get("kernel", default="unpatched"),
            number=int(self.params.get("round", default=1)),
            evidence_directory=self._out / "evidence",
            repeats=int(self.params.get("repeats", default=0)),
        )

    def _axes(self) -> dict[str, str | None]:
        """Values of the axes that are given as parameters and not by a tag."""
        names = {axis for axes in AXES.values() for axis in axes}
        return {name: self.params.get(name, default=None) for name in names}

    @contextmanager
    def round(self) -> Iterator[Measuring]:
        """The round: L1 is there with the cell's MMU mode, and the outcome is recorded at the end.

        An error of the test itself is raised again, once the guests have ended and L1's warnings were read:
        the next round must not be blamed for them.
        """
        fault: Exception | None = None
        try:
            self._prepare_l1()
            yield self.this
        except Exception as error:  # noqa: BLE001 - recorded below, and raised again if it is not ours
            fault = error
        if not self._may_end():  # a return would have Avocado believe that the test has passed
            raise fault or LabError("the round was ended before its test was done")
        if isinstance(fault, GuestloopError):
            self._fault(fault)
        elif fault:
            self.this.find(FindingKind.INTERRUPTED, f"error in the test: {type(fault).__name__}: {fault}")
        self._end_round()
        if fault and not isinstance(fault, GuestloopError):
            self._write()
            raise fault
        self._conclude()

    def _may_end(self) -> bool:
        """True once: after a time-out the body runs on beside ``tearDown``, but only one ends the round."""
        return self._ending.acquire(blocking=False)

    def _fault(self, error: GuestloopError) -> None:
        self.this.fault(error)
        if not isinstance(error, Lacking):
            self.log.error("%s\n%s", error.render(), error.traceback)

    @property
    def _is_probed(self) -> bool:
        """Probes are armed on the functions that differ between the kernels of the run."""
        return str(self.params.get("probe_changed", default="no")) == "yes"

    def _prepare_l1(self) -> None:
        connection = connect()
        self._stack.callback(connection.close)
        fresh = str(self.params.get("fresh_boot", default="no")) == "yes"
        self.l1 = L1(connection, self.this.kernel, fresh=fresh)
        self.this.use(self.l1)
        self.l1.require(self.this.cell.mmu)  # before anything is done in it: it stays as good as new
        self.l1.lay_ground()
        self.l1.set_mmu(self.this.cell.mmu, watch=self._is_probed)

    def _end_round(self) -> None:
        """Guests end inside the round that started them, and only then L1's kernel is asked what it saw.

        A complaint of that kernel, or its end, is a finding about the kernel under test.
        """
        if self.this.l1 is None:
            return
        self.this.facts["pace"] = f"{clock.pace:.1f}"
        with suppress(GuestloopError):  # what ails the lab is found below
            self.this.take_load()
        try:
            warnings = self.this.l1.conclude()
            if self._is_probed:  # guests have ended: what runs at their end is in it
                self.this.probed = self.this.l1.read_probed()
        except GuestloopError as error:
            if not self._is_known(error):
                self._fault(error)
            return
        if warnings:
            self.this.keep("l1-warnings.txt", "\n".join(warnings) + "\n")
            self.this.find(FindingKind.WARNING, f"the L1 kernel complained: {warnings[0]}")

    def _is_known(self, error: GuestloopError) -> bool:
        """An end of L1 that the body of the test has run into is found once."""
        kind = FINDINGS[error.kind]
        return kind in ENDS and any(finding.kind is kind for finding in self.this.findings)

    def _conclude(self) -> None:
        record = self._write()
        match record.outcome, record.correctness:
            case Outcome.SKIPPED, _:
                self.cancel(record.reason)
            case _, Correctness.FAIL:  # also when the rest of the round proves nothing
                self.fail(record.reason)
            case Outcome.INVALID, _:
                self.error(f"invalid: {record.reason}")

    def _write(self) -> Round:
        record = self.this.finish()
        write_round(self._out, record)
        return record

    def tearDown(self) -> None:
        """End a round whose body did not: it timed out, was told to end, or raised an error of its own.

        Avocado calls this in another thread than the body, which after a time-out still runs.
        """
        try:
            if hasattr(self, "this") and self._may_end():
                text = "the test did not reach its end (timeout, or Ctrl-C)"
                self.this.find(FindingKind.INTERRUPTED, text)
                self._end_round()
                self._write()
        finally:
            try:
                self._stack.close()
            except (GuestloopError, TestBaseException) as error:
                # An exception here would replace the real failure.
                self.log.error("while ending the guests: %s", error)
