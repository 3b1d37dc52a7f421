# SPDX-License-Identifier: GPL-2.0-or-later
"""A migration that breaks is reported as what it is, and the next one in the same L1 is none the worse."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from guestloop.agent.faults import Fault
from guestloop.ground.errors import GuestloopError
from guestloop.ground.wait import clock
from guestloop.job.session import running_lab
from guestloop.kernels import Kernel, describe_l2_kernel
from guestloop.lab.client import L1, connect
from guestloop.lab.spec import LabSpec
from guestloop.machines.host import Vendor
from guestloop.results.cells import Mmu
from guestloop.results.findings import FindingKind
from guestloop.results.records import Correctness, Outcome
from guestloop.vm.parts import L1Parts
from guestloop.workloads import migration
from guestloop.workloads.catalog import make_cell
from guestloop.workloads.measuring import Measuring

pytestmark = pytest.mark.guest

SMALL_TMPFS = "/run/small"
SOON_S = 60.0


@dataclass(frozen=True)
class Broken:
    """``fault`` strikes when ``phase`` begins; the round has a finding of ``kind`` that says ``reason``."""

    way: str
    phase: str
    fault: Fault
    reason: str
    kind: FindingKind


BROKEN = {
    "link cut in precopy": Broken(
        "precopy", "round-2", Fault.CUT_LINK, r"the migration is failed: ", FindingKind.MIGRATION_FAILED
    ),
    "link cut in postcopy": Broken(
        "postcopy",
        "postcopy",
        Fault.CUT_LINK,
        r"the migration is postcopy-paused",
        FindingKind.MIGRATION_FAILED,
    ),
    "destination dies": Broken(
        "multifd",
        "round-2",
        Fault.KILL_DESTINATION,
        r"(is failed: .*|is gone); destination: killed by signal 9",
        FindingKind.GUEST_KILLED,
    ),
    "destination dies in postcopy": Broken(
        "postcopy",
        "postcopy",
        Fault.KILL_DESTINATION,
        r"is postcopy-paused.*; destination: killed by signal 9",
        FindingKind.GUEST_KILLED,
    ),
    "source dies": Broken(
        "dirty-ring",
        "round-2",
        Fault.KILL_SOURCE,
        r"source's QEMU does not answer.*; source: killed by signal 9",
        FindingKind.GUEST_KILLED,
    ),
    "guest panics": Broken(
        "precopy",
        "round-2",
        Fault.PANIC,
        r"source: the guest panicked \(Kernel panic - not syncing: sysrq",
        FindingKind.GUEST_CRASHED,
    ),
}

Migrate = Callable[..., Measuring]


@pytest.fixture(scope="module")
def migrate(
    kernel: Kernel, l2_kernel: Kernel, parts: L1Parts, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Migrate]:
    """Run one migration cell in an L1 that lives as long as this module; gives the round in the making."""
    out, name = tmp_path_factory.mktemp("out"), parts.name
    socket = f"guestloop-selftest-{secrets.token_hex(8)}"
    requests, l2 = {name: kernel.tlb_flush_request}, describe_l2_kernel(l2_kernel)
    spec = LabSpec(socket, out / "lab", Vendor.AMD, {name: parts}, requests, l2, digests={})
    with running_lab(spec, out):
        connection = connect()

        def run(
            way: str, number: int, phase: str = "", fault: Fault | None = None, directory: str = ""
        ) -> Measuring:
            variant = {"load": "sweep", "way": way, "pages": "4k", "vcpus": "2"}
            cell = make_cell("migration", Mmu.TDP, variant)
            this = Measuring(cell, name, number, out / "evidence")
            try:
                l1 = L1(connection, name)
                this.use(l1)
                l1.set_mmu(cell.mmu)
                if fault:
                    l1.agent.migration.break_at(phase, fault)
                trip = replace(migration.trip_of(cell), ram_directory=directory)
                if directory:
                    l1.agent.migration.small_tmpfs(directory, trip.ram_mib // 8)
                migration.run(this, l1, trip)
            except GuestloopError as error:
                this.fault(error)
            return this

        yield run
        connection.close()


def assert_reported(this: Measuring, kind: FindingKind, reason: str) -> None:
    """A finding of this kind and with this reason, soon, with both consoles and what QMP still said."""
    record = this.finish()
    assert kind in [finding.kind for finding in record.findings], record.findings
    assert record.outcome is Outcome.INVALID
    assert re.search(reason, record.reason), record.reason
    assert record.seconds < SOON_S * clock.pace
    kept = {path.partition(f"/{record.kernel}.{record.round}.")[2]: path for path in record.evidence}
    root = this.evidence_directory.parent
    error = (root / kept["error.txt"]).read_text()
    # What each side printed; L2's kernel prints nothing by itself.
    assert "source a:\n" in error and "destination b:\n" in error
    assert ("console.log |" in error) == (kind is FindingKind.GUEST_CRASHED)
    assert "query-migrate" in (root / kept["qemu.json"]).read_text()
    # A guest that crashes is a finding about its memory; a lab that breaks is none.
    assert (record.correctness is Correctness.FAIL) == (kind is FindingKind.GUEST_CRASHED)


@pytest.mark.parametrize("case", BROKEN)
def test_a_migration_that_breaks_is_reported_as_what_it_is(migrate: Migrate, case: str) -> None:
    broken = BROKEN[case]
    this = migrate(broken.way, list(BROKEN).index(case), broken.phase, broken.fault)
    assert_reported(this, broken.kind, broken.reason)


def test_a_full_tmpfs_is_reported(migrate: Migrate) -> None:
    this = migrate("precopy", 20, directory=SMALL_TMPFS)
    reason = rf"destination: killed by signal 7 \(SIGBUS; 0 MiB free for its RAM in {SMALL_TMPFS}\)"
    assert_reported(this, FindingKind.GUEST_KILLED, reason)


def test_after_all_that_a_migration_is_right(migrate: Migrate) -> None:
    this = migrate("precopy", 30)
    record = this.finish()
    assert (record.outcome, record.correctness) == (Outcome.MEASURED, Correctness.PASS), record.reason
    assert record.boot == 1, "a broken migration must not cost the L1"
