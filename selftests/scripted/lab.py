# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab of scripted L1s, and rounds measured in it by real tests."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from avocado.core import exceptions as avocado
from avocado.core.tree import TreeNode
from samples import DIGESTS, L2_KERNEL

from guestloop import testing
from guestloop.agent import guest, guests, migration
from guestloop.agent.changed import Watched
from guestloop.ground.rpc import Methods
from guestloop.lab import slot
from guestloop.lab.client import L1
from guestloop.lab.server import _Server
from guestloop.lab.services import Lab, LabServices
from guestloop.lab.slot import Slot
from guestloop.lab.spec import OUT_VARIABLE, SOCKET_VARIABLE, LabSpec
from guestloop.machines.host import Vendor
from guestloop.results.cells import Cell, Mmu
from guestloop.results.findings import FindingKind
from guestloop.results.records import Round, read_rounds
from guestloop.results.sizes import Sizes
from guestloop.testing import GuestTest
from guestloop.vm.link import Link
from guestloop.vm.parts import Keys, L1Parts
from guestloop.workloads import aging, asyncpf
from guestloop.workloads import migration as migrating
from guestloop.workloads.catalog import cell_of
from guestloop.workloads.measuring import Measuring
from scripted.direct import DirectConnection, DirectLink
from scripted.guest import ScriptedGuest
from scripted.machine import REQUEST, Befall, ScriptedL1
from scripted.script import BUILD_ID, Script
from scripted.served import SocketLink

KERNEL = "patched"
SOON_S = 0.0005
MEASURE = {"asyncpf": asyncpf.measure, "aging": aging.measure, "migration": migrating.measure}
Body = Callable[[Measuring, L1], object]


@dataclass(frozen=True)
class Call:
    """A call of the agent, as it went over the link."""

    method: str
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Ended:
    """What a test left: its round, and how Avocado sees it (PASS, FAIL, ERROR, CANCEL)."""

    record: Round
    status: str

    @property
    def kinds(self) -> list[FindingKind]:
        return [finding.kind for finding in self.record.findings]


class ScriptedTest(GuestTest):
    """A guest test of any cell; its body is given from outside."""

    __test__ = False  # for Avocado, not for pytest
    body: Body

    def test(self) -> None:
        with self.round() as this:
            self.body(this, self.l1)


class ScriptedLab:
    """The lab of a run with one kernel. ``script`` is what its L1s follow, ``calls`` what they were asked.

    ``make_link`` is what they are reached over.
    """

    def __init__(self, directory: Path, make_link: Callable[[str, Methods], Link]) -> None:
        self.make_link = make_link
        self.script = Script()
        self.calls: list[Call] = []
        self.l1s: list[ScriptedL1] = []
        self.out = directory / "out"
        self._directory = directory
        self._planned: dict[str, list[Befall]] = {}
        self.slot = Slot(make_spec(directory / "lab"), KERNEL)

    @property
    def l1(self) -> ScriptedL1:
        """The L1 that was booted last."""
        return self.l1s[-1]

    def boot(self, parts: L1Parts, directory: Path) -> ScriptedL1:
        """As vm/l1.py: Machine."""
        made = ScriptedL1(self, parts, directory)
        self.l1s.append(made)
        return made

    def start_guest(self, name: str, argv: list[str], directory: Path) -> ScriptedGuest:
        """As agent/guest.py: Guest."""
        return ScriptedGuest(self.l1, name, argv, directory)

    # --- what tests do with it

    def watch(self, watched: tuple[Watched, ...]) -> None:
        """These functions differ between the kernels of the run."""
        self.slot._spec = replace(self.slot._spec, watched={KERNEL: watched})

    def use(self, sizes: Sizes) -> None:
        """The L1s that are booted from now on are so large."""
        parts = {name: replace(one, sizes=sizes) for name, one in self.slot._spec.parts.items()}
        self.slot._spec = replace(self.slot._spec, parts=parts)

    def at(self, method: str, *befall: Befall) -> None:
        """Have something befall L1 when the agent is next asked for this, before it answers."""
        self._planned.setdefault(method, []).extend(befall)

    def note(self, l1: ScriptedL1, method: str, params: Mapping[str, Any]) -> None:
        self.calls.append(Call(method, params))
        for befall in self._planned.pop(method, []):
            befall(l1)

    def called(self, method: str) -> list[Mapping[str, Any]]:
        """The parameters of all calls of a method."""
        return [call.params for call in self.calls if call.method == method]

    def told(self, name: str) -> list[str]:
        """The commands that the payload of an L2 was sent."""
        return [params["line"] for params in self.called("guests.command") if params["name"] == name]

    def measure(
        self,
        cell: Cell,
        body: Body | None = None,
        *,
        number: int = 1,
        fresh_boot: str = "no",
        probed: bool = False,
    ) -> Ended:
        """One round of a cell, by a test as Avocado runs it; ``body`` in place of the cell's workload."""
        test = make_test(cell, number, self._directory / "log", fresh_boot, probed=probed)
        test.body = body or MEASURE[cell.test]
        status = run_test(test)
        (record,) = [item for item in read_rounds(self.out) if (item.cell, item.round) == (cell, number)]
        return Ended(record, status)


def make_spec(directory: Path) -> LabSpec:
    """A lab of one kernel."""
    keys, nothing = Keys(Path("/keys/client"), "ssh-ed25519 AAAA"), Path("/nothing")
    parts = L1Parts(KERNEL, nothing, (), (), nothing, BUILD_ID, nothing, nothing, keys)
    name = f"guestloop-selftest-{secrets.token_hex(8)}"
    return LabSpec(name, directory, Vendor.AMD, {KERNEL: parts}, {KERNEL: REQUEST}, L2_KERNEL, DIGESTS)


def make_test(
    cell: Cell,
    number: int,
    log: Path,
    fresh_boot: str = "no",
    tags: Mapping[str, set[str] | None] | None = None,
    *,
    probed: bool = False,
) -> ScriptedTest:
    """The Avocado test of a round, tagged with the workload alone unless told; the axes are parameters."""
    node = TreeNode().get_node("/run", True)
    values = {"kernel": KERNEL, "mmu": cell.mmu.value, "round": number, "fresh_boot": fresh_boot}
    node.value = {**cell.variant, **values, "probe_changed": "yes" if probed else "no"}
    return ScriptedTest("test", None, ([node], ["/run/*"]), str(log), tags=tags or {cell.test: None})


def run_test(test: GuestTest) -> str:
    """setUp, test and tearDown as Avocado calls them; its word for how that ended."""
    try:
        test.setUp()
        try:
            test.test()
        finally:
            test.tearDown()
    except avocado.TestBaseException as ended:
        return str(ended.status)
    return "PASS"


def cell(test: str, mmu: Mmu = Mmu.TDP, /, **variant: str) -> Cell:
    """A cell of a workload; axes that are not given have their usual value."""
    return cell_of({test: None}, mmu, variant)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedLab]:
    """A lab without connections: a call of a test is a call of its L1."""
    made = ScriptedLab(tmp_path, DirectLink)
    methods = Methods(LabServices(Lab({KERNEL: made.slot})))
    monkeypatch.setattr(testing, "connect", lambda: DirectConnection(methods))
    put_on_stage(made, monkeypatch)
    yield made
    made.slot.close()


@pytest.fixture
def served_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedLab]:
    """A lab that is served as the real one is, and that tests find by its name."""
    made = ScriptedLab(tmp_path, SocketLink)
    put_on_stage(made, monkeypatch)
    spec = made.slot._spec
    monkeypatch.setenv(SOCKET_VARIABLE, spec.socket)
    with ExitStack() as stack:
        server = stack.enter_context(_Server(spec.socket, {KERNEL: made.slot}))
        threading.Thread(target=partial(server.serve_forever, SOON_S), daemon=True).start()
        stack.callback(made.slot.close)
        stack.callback(server.shutdown)
        yield made


def put_on_stage(made: ScriptedLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have slots boot scripted L1s and agents start scripted guests; what polls and waits does it fast."""
    monkeypatch.setattr(slot, "Machine", made.boot)
    monkeypatch.setattr(guests, "Guest", made.start_guest)
    monkeypatch.setattr(guest, "LOOK_S", SOON_S)
    monkeypatch.setattr(migration, "POLL_S", SOON_S)
    monkeypatch.setattr(migration, "read_vmstat", lambda: dict(made.l1.kernel.vmstat))
    monkeypatch.setenv(OUT_VARIABLE, str(made.out))
