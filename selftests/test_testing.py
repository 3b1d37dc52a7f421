"""``GuestTest``: whatever happens in a test, a round is written, and Avocado's status says the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from avocado.core import exceptions as avocado
from avocado.core.tree import TreeNode

from guestloop import testing
from guestloop.ground.errors import GuestError, LabError
from guestloop.lab.spec import OUT_VARIABLE
from guestloop.results.cells import Mmu
from guestloop.results.records import Correctness, Outcome, Round, read_rounds
from guestloop.testing import GuestTest
from guestloop.workloads.measuring import Lacking, Measuring

Body = Callable[[Measuring], object]


class FakeL1:
    """An L1 that complains about what it is told to."""

    complaints: ClassVar[list[str]] = []
    broken: ClassVar[bool] = False

    def __init__(self, _connection: object, kernel: str, *, fresh: bool = False) -> None:
        if self.broken:
            raise GuestError(f"L1 {kernel} panicked: Oops\n  console | line")
        self.kernel, self.fresh, self.boot, self.facts = kernel, fresh, 4, {"release": "6.12"}

    def set_mmu(self, mmu: Mmu) -> None:
        self.facts["mmu"] = mmu.value

    def new_warnings(self) -> list[str]:
        return self.complaints


class Probe(GuestTest):
    """A guest test with its body given from outside."""

    __test__ = False  # for Avocado, not for pytest
    body: Body
    tags: ClassVar[dict[str, Any]] = {"asyncpf": None, "load": {"read-own"}}

    def test(self) -> None:
        with self.round() as this:
            self.body(this)


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Probe:
    monkeypatch.setenv(OUT_VARIABLE, str(tmp_path / "out"))
    monkeypatch.setattr(testing, "connect", lambda: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(testing, "L1", FakeL1)
    node = TreeNode().get_node("/run", True)
    node.value = {"kernel": "patched", "mmu": "shadow", "round": 2, "fresh_boot": "yes"}
    params = ([node], ["/run/*"])
    return Probe(methodName="test", params=params, base_logdir=str(tmp_path / "log"))


def go(probe: Probe, body: Body) -> Round:
    """The one round that a test writes; setUp and tearDown as Avocado calls them."""
    probe.body = body
    probe.setUp()
    try:
        probe.test()
    finally:
        probe.tearDown()
        (record,) = read_rounds(Path(os.environ[OUT_VARIABLE]))
        go.record = record  # type: ignore[attr-defined]
    return record


def written() -> Round:
    record: Round = go.record  # type: ignore[attr-defined]
    return record


def test_a_measured_round(probe: Probe) -> None:
    record = go(probe, lambda this: this.judge(True))
    assert record.cell.id == "asyncpf/shadow/read-own"
    assert (record.kernel, record.round, record.boot) == ("patched", 2, 4)
    assert (record.outcome, record.correctness) == (Outcome.MEASURED, Correctness.PASS)
    assert record.facts == {"release": "6.12", "mmu": "shadow"}
    assert probe.l1.fresh is True


def test_wrong_contents_fail(probe: Probe) -> None:
    with pytest.raises(avocado.TestFail, match="2 pages are wrong"):
        go(probe, lambda this: this.judge(False, "2 pages are wrong"))
    assert written().correctness is Correctness.FAIL


def test_no_events_are_an_error(probe: Probe) -> None:
    def body(this: Measuring) -> None:
        this.judge(True)
        this.require("page_ready", 500)

    with pytest.raises(avocado.TestError, match="invalid: page_ready: 0 seen"):
        go(probe, body)
    assert written().outcome is Outcome.INVALID


def test_what_was_found_stands_when_the_rest_of_the_round_breaks(probe: Probe) -> None:
    def body(this: Measuring) -> None:
        this.judge(False, "96 pages were lost")
        raise GuestError("L2 b: waited 20 s for 'hello'")

    with pytest.raises(avocado.TestFail, match="96 pages were lost"):
        go(probe, body)
    assert (written().outcome, written().correctness) == (Outcome.INVALID, Correctness.FAIL)


def raising(error: BaseException) -> Body:
    def body(_this: Measuring) -> None:
        raise error

    return body


def test_what_is_lacking_cancels(probe: Probe) -> None:
    with pytest.raises(avocado.TestCancel, match="no eptad here"):
        go(probe, raising(Lacking("no eptad here")))
    assert written().outcome is Outcome.SKIPPED


def test_a_broken_guest_is_an_error_of_one_line(probe: Probe) -> None:
    with pytest.raises(avocado.TestError, match=r"^invalid: L2 storm: QEMU ended$"):
        go(probe, raising(GuestError("L2 storm: QEMU ended\n  qemu.log | x")))
    assert written().evidence == ("evidence/asyncpf/shadow/read-own/patched.2.error.txt",)


def test_an_l1_that_does_not_boot(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeL1, "broken", True)
    with pytest.raises(avocado.TestError, match="invalid: L1 patched panicked: Oops"):
        go(probe, lambda this: this.judge(True))
    assert (written().outcome, written().boot) == (Outcome.INVALID, 0)


def test_a_complaint_of_the_l1_kernel_is_a_finding(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeL1, "complaints", ["WARNING: at mmu.c:1"])
    with pytest.raises(avocado.TestFail, match=r"the L1 kernel complained: WARNING: at mmu\.c:1"):
        go(probe, lambda this: this.judge(True))
    assert written().correctness is Correctness.FAIL


@pytest.mark.parametrize("error", [KeyError("a bug in the test"), KeyboardInterrupt()])
def test_a_test_that_breaks_off_writes_a_round_too(probe: Probe, error: BaseException) -> None:
    with pytest.raises(type(error)):
        go(probe, raising(error))
    assert written().outcome is Outcome.INVALID
    assert "did not reach its end" in written().reason


def test_without_a_run_there_is_a_hint(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OUT_VARIABLE)
    with pytest.raises(LabError, match="GUESTLOOP_OUT is not set"):
        probe.setUp()
    probe.tearDown()
