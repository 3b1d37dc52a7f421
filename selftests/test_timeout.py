# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest test that Avocado ends: its guests end, and its round is written once, with L1's last words."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from avocado.core.tree import TreeNode

from guestloop import testing
from guestloop.ground.errors import GuestKilled, L1Panicked
from guestloop.ground.usage import Threads, Usage
from guestloop.lab.spec import OUT_VARIABLE
from guestloop.results.cells import Mmu
from guestloop.results.findings import FindingKind
from guestloop.results.records import Correctness, Round, read_rounds
from guestloop.testing import GuestTest

TIMEOUT_S = 0.3  # until then the body waits for its guest, also on a busy machine
BACKSTOP_S = 20.0


class FakeL1:
    """An L1 whose guest runs until the round is concluded."""

    def __init__(self) -> None:
        self.boot, self.facts, self.absent_paths = 1, {"release": "6.12"}, ()
        self.guest_ended = threading.Event()
        self.concluded = 0
        self.last_words: list[str] = []
        self.panics = False

    def lay_ground(self) -> None:
        self.facts["settings.swappiness"] = "60"

    def require(self, mmu: Mmu) -> None:
        assert mmu in Mmu

    def set_mmu(self, mmu: Mmu, *, watch: bool) -> None:
        self.facts["mmu"] = mmu.value

    def usage(self) -> Threads:
        return {7: Usage(1.0, 0.5)}

    def conclude(self) -> list[str]:
        self.concluded += 1
        self.guest_ended.set()
        if self.panics:
            raise L1Panicked("L1 patched panicked: Oops")
        return self.last_words


class Probe(GuestTest):
    """A guest test whose guest does not answer."""

    __test__ = False  # for Avocado, not for pytest
    timeout = TIMEOUT_S
    tags: ClassVar[dict[str, Any]] = {"asyncpf": None, "load": {"read-own"}}
    fake: FakeL1
    after: Callable[[], None]
    over: threading.Event

    def test(self) -> None:
        try:
            with self.round():
                assert self.fake.guest_ended.wait(BACKSTOP_S)
                self.after()
        finally:
            self.over.set()


@pytest.fixture
def l1(monkeypatch: pytest.MonkeyPatch) -> FakeL1:
    made = FakeL1()
    monkeypatch.setattr(testing, "connect", lambda: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(testing, "L1", lambda *_args, **_options: made)
    return made


@pytest.fixture
def probe(l1: FakeL1, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Probe:
    monkeypatch.setenv(OUT_VARIABLE, str(tmp_path / "out"))
    node = TreeNode().get_node("/run", True)
    node.value = {"kernel": "patched", "mmu": "shadow", "round": 2}
    made = Probe(methodName="test", params=([node], ["/run/*"]), base_logdir=str(tmp_path / "log"))
    made.fake, made.after, made.over = l1, lambda: None, threading.Event()
    return made


def run(probe: Probe, tmp_path: Path) -> Round:
    """As Avocado runs it: the body goes on in a thread of its own when its time is over."""
    probe.run_avocado()
    assert probe.over.wait(BACKSTOP_S), "the body has come to an end beside tearDown"
    (record,) = read_rounds(tmp_path / "out")
    return record


def kinds(record: Round) -> list[FindingKind]:
    return [finding.kind for finding in record.findings]


def test_a_round_that_times_out_is_written_and_its_guest_is_ended(
    probe: Probe, l1: FakeL1, tmp_path: Path
) -> None:
    record = run(probe, tmp_path)
    assert probe.status == "INTERRUPTED"
    assert (record.kernel, record.round, record.boot) == ("patched", 2, 1)
    assert (kinds(record), record.is_invalid, record.is_wrong) == ([FindingKind.INTERRUPTED], True, False)
    assert l1.guest_ended.is_set() and l1.concluded == 1


def test_what_l1_says_while_the_guest_is_ended_belongs_to_the_round(
    probe: Probe, l1: FakeL1, tmp_path: Path
) -> None:
    l1.last_words = ["BUG: Bad page state"]
    record = run(probe, tmp_path)
    assert kinds(record) == [FindingKind.INTERRUPTED, FindingKind.WARNING]
    assert record.correctness is Correctness.FAIL


def test_an_l1_that_panics_while_the_guest_is_ended_is_found(
    probe: Probe, l1: FakeL1, tmp_path: Path
) -> None:
    l1.panics = True
    assert kinds(run(probe, tmp_path)) == [FindingKind.INTERRUPTED, FindingKind.L1_PANICKED]


def test_what_befalls_the_body_because_it_was_ended_is_no_finding(
    probe: Probe, l1: FakeL1, tmp_path: Path
) -> None:
    def killed() -> None:
        raise GuestKilled("L2 storm: QEMU ended (killed by signal 9)")

    probe.after = killed
    record = run(probe, tmp_path)
    assert (kinds(record), record.evidence) == ([FindingKind.INTERRUPTED], ())
    assert l1.concluded == 1 and not (tmp_path / "out/evidence").exists()
