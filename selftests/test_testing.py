# SPDX-License-Identifier: GPL-2.0-or-later
"""``GuestTest``: whatever happens in a test, one round is written, and Avocado's status says the same."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

import pytest
import scripted
from avocado.core import exceptions as avocado
from samples import DIGESTS, L2_KERNEL
from scripted import ScriptedL1, ScriptedLab, cell
from scripted.lab import Body, ScriptedTest, make_test

from guestloop.agent.changed import Watched
from guestloop.ground.errors import ConfigError, GuestError, L1Panicked, LabError, Lacking, TimedOut
from guestloop.ground.usage import Usage
from guestloop.ground.wait import wait_for
from guestloop.lab.client import L1
from guestloop.lab.spec import OUT_VARIABLE, SOCKET_VARIABLE
from guestloop.results.cells import Mmu
from guestloop.results.changes import Probed
from guestloop.results.findings import FindingKind
from guestloop.results.records import L2_BUILD_ID, Correctness, Outcome, read_rounds
from guestloop.results.sizes import USUAL
from guestloop.vm.argv import L2Spec, l2_argv
from guestloop.workloads.measuring import Measuring

lab = scripted.served_lab

CELL = cell("asyncpf", Mmu.SHADOW, load="read-own")


def checked(this: Measuring, _l1: L1) -> None:
    """A body that checks memory and does nothing else."""
    this.judge(True, FindingKind.CONTENTS, "")


def with_guest(this: Measuring, l1: L1) -> None:
    """A body with a guest that ends with it."""
    with l1.guest(L2Spec("storm")):
        checked(this, l1)


def raising(error: BaseException) -> Body:
    def body(_this: Measuring, _l1: L1) -> None:
        raise error

    return body


# --- outcomes --------------------------------------------------------------------------------------


def test_a_measured_round(lab: ScriptedLab) -> None:
    ended = lab.measure(CELL, checked, number=2)
    record = ended.record
    assert (ended.status, ended.kinds) == ("PASS", [])
    assert record.cell == CELL and (record.kernel, record.round, record.boot) == ("patched", 2, 1)
    assert (record.outcome, record.correctness) == (Outcome.MEASURED, Correctness.PASS)
    facts = {
        name: value for name, value in record.facts.items() if not name.startswith(("boot.", "settings."))
    }
    assert facts == L2_KERNEL.facts | dict(USUAL.facts) | {
        "pace": "1.0",
        "release": "6.12.117",
        "vmlinux.build_id": "abcd",
        "sha256.qemu": DIGESTS["qemu"],
        "sha256.agent": DIGESTS["agent"],
        "kvm.tdp_mmu": "N",
        "kvm_amd.npt": "N",
        "kvm.build_id": "ef01",
        "kvm_amd.build_id": "ef01",
    }
    assert [params["mmu"] for params in lab.called("kvm.load")] == ["shadow"]


def test_a_round_says_what_its_l1_got_and_waited_for(
    lab: ScriptedLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = iter([{7: Usage(2.0, 1.0)}, {7: Usage(5.0, 1.5), 8: Usage(1.0, 0.0)}])
    monkeypatch.setattr(lab.slot, "usage", lambda: next(seen))
    load = lab.measure(CELL, checked).record.load
    assert load and (load.round_ran_s, load.round_waited_s) == (4.0, 0.5)
    assert (load.ran_s, load.slowdown) == (0.0, None), "nothing was counted"


def test_a_load_that_cannot_be_read_at_the_end_is_no_finding(
    lab: ScriptedLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def body(this: Measuring, l1: L1) -> None:
        checked(this, l1)
        error = LabError("the lab is busy")
        monkeypatch.setattr(lab.slot, "usage", lambda: raising(error)(this, l1))

    ended = lab.measure(CELL, body)
    assert (ended.status, ended.kinds, ended.record.load) == ("PASS", [], None)


def test_a_round_says_what_kernel_its_l2_ran(lab: ScriptedLab) -> None:
    record = lab.measure(CELL, with_guest).record
    assert record.facts.items() >= (L2_KERNEL.facts | {L2_BUILD_ID: L2_KERNEL.build_id}).items()


def test_a_round_whose_l2_runs_another_kernel_proves_nothing(lab: ScriptedLab) -> None:
    lab.script.l2_build_id = "0bad"
    ended = lab.measure(CELL, with_guest)
    assert (ended.status, ended.kinds) == ("ERROR", [FindingKind.LAB])
    assert "build id 0bad, wanted" in ended.record.reason
    assert ended.record.outcome is Outcome.INVALID and L2_BUILD_ID not in ended.record.facts


def test_wrong_contents_fail(lab: ScriptedLab) -> None:
    def body(this: Measuring, _l1: L1) -> None:
        this.judge(False, FindingKind.CONTENTS, "2 pages are wrong")

    ended = lab.measure(CELL, body)
    assert (ended.status, ended.record.correctness) == ("FAIL", Correctness.FAIL)
    assert (ended.kinds, ended.record.reason) == ([FindingKind.CONTENTS], "2 pages are wrong")


def test_no_events_are_an_error(lab: ScriptedLab) -> None:
    def body(this: Measuring, l1: L1) -> None:
        checked(this, l1)
        this.require("page_ready", 500)

    ended = lab.measure(CELL, body)
    assert (ended.status, ended.record.outcome) == ("ERROR", Outcome.INVALID)


def test_what_was_found_stands_when_the_rest_of_the_round_breaks(lab: ScriptedLab) -> None:
    def body(this: Measuring, _l1: L1) -> None:
        this.judge(False, FindingKind.CONTENTS, "96 pages were lost")
        raise TimedOut("waited 20 s")

    ended = lab.measure(CELL, body)
    assert ended.status == "FAIL"
    assert ended.kinds == [FindingKind.CONTENTS, FindingKind.TIMED_OUT]
    assert (ended.record.outcome, ended.record.correctness) == (Outcome.INVALID, Correctness.FAIL)


def test_what_is_lacking_cancels(lab: ScriptedLab) -> None:
    ended = lab.measure(CELL, raising(Lacking("no eptad here")))
    assert (ended.status, ended.record.outcome) == ("CANCEL", Outcome.SKIPPED)
    assert ended.record.reason == "no eptad here" and ended.record.evidence == ()


def test_a_mode_of_other_hardware_is_skipped_and_leaves_the_l1_as_it_is(lab: ScriptedLab) -> None:
    ended = lab.measure(cell("asyncpf", Mmu.DIRECT_PML, load="read-own"), raising(AssertionError("it ran")))
    assert (ended.status, ended.record.outcome) == ("CANCEL", Outcome.SKIPPED)
    assert ended.record.reason == "PML: kvm_intel may have it, kvm_amd has not"
    assert lab.called("kvm.load") == [] and lab.called("settings.lay_ground") == []


def test_a_warning_in_a_round_that_lacks_something_is_not_skipped(lab: ScriptedLab) -> None:
    lab.at("guests.stop_all", ScriptedL1.warn)
    ended = lab.measure(CELL, raising(Lacking("no eptad here")))
    assert ended.kinds == [FindingKind.LACKING, FindingKind.WARNING]
    assert (ended.status, ended.record.correctness) == ("FAIL", Correctness.FAIL)
    assert ended.record.outcome is Outcome.INVALID


def test_a_broken_guest_is_an_error_of_one_line(lab: ScriptedLab) -> None:
    ended = lab.measure(
        CELL, raising(GuestError("L2 storm: QEMU ended\n  qemu.log | x", traceback="in load"))
    )
    assert (ended.status, ended.record.reason) == ("ERROR", "L2 storm: QEMU ended")
    (kept,) = ended.record.evidence
    assert kept == f"evidence/{CELL.id}/patched.1.error.txt"
    assert "qemu.log | x" in (lab.out / kept).read_text()


# --- the end of a round ----------------------------------------------------------------------------


def test_guests_end_inside_the_round_before_the_console_is_read(lab: ScriptedLab) -> None:
    lab.measure(CELL, with_guest)
    ends = ("guests.start", "guests.stop", "guests.stop_all", "system.write_console")
    assert [call.method for call in lab.calls if call.method in ends] == [*ends]


def test_a_guest_that_a_test_left_behind_ends_with_the_round(lab: ScriptedLab) -> None:
    def body(this: Measuring, l1: L1) -> None:
        l1.agent.guests.start("left", l2_argv(L2Spec("left")))
        checked(this, l1)
        assert set(lab.l1.roster.running) == {"left"}

    assert lab.measure(CELL, body).status == "PASS"
    assert lab.l1.roster.running == {}


@pytest.mark.parametrize("method", ["guests.start", "guests.stop", "guests.stop_all"])
def test_a_warning_is_a_finding_of_the_round_that_it_was_printed_in(lab: ScriptedLab, method: str) -> None:
    lab.at(method, ScriptedL1.warn)
    ended = lab.measure(CELL, with_guest)
    assert (ended.status, ended.kinds) == ("FAIL", [FindingKind.WARNING])
    assert ended.record.correctness is Correctness.FAIL
    (kept,) = ended.record.evidence
    assert kept.endswith("patched.1.l1-warnings.txt")
    assert (lab.out / kept).read_text().count("WARNING: ") == 1
    assert lab.measure(CELL, with_guest, number=2).status == "PASS", "and not of the next one"


def test_all_warnings_are_kept(lab: ScriptedLab) -> None:
    lab.at("guests.stop", ScriptedL1.warn, lambda l1: l1.warn("BUG: Bad page state in process qemu"))
    ended = lab.measure(CELL, with_guest)
    assert ended.kinds == [FindingKind.WARNING] and "WARNING" in ended.record.reason
    (kept,) = ended.record.evidence
    assert len((lab.out / kept).read_text().splitlines()) == 2


ENDS: list[tuple[Callable[[ScriptedL1], None], FindingKind, Correctness]] = [
    (ScriptedL1.panic, FindingKind.L1_PANICKED, Correctness.FAIL),
    (lambda l1: l1.end(0), FindingKind.L1_REBOOTED, Correctness.FAIL),
    (lambda l1: l1.end(-9), FindingKind.L1_ENDED, Correctness.NOT_RUN),
    (lambda l1: l1.end(1), FindingKind.L1_ENDED, Correctness.NOT_RUN),
]


@pytest.mark.parametrize("method", ["kvm.load", "guests.start", "guests.stop", "guests.stop_all"])
@pytest.mark.parametrize(("end", "kind", "correctness"), ENDS)
def test_the_end_of_an_l1_is_found_once_in_its_round(
    lab: ScriptedLab,
    method: str,
    end: Callable[[ScriptedL1], None],
    kind: FindingKind,
    correctness: Correctness,
) -> None:
    lab.at(method, end)
    ended = lab.measure(CELL, with_guest)
    assert ended.kinds == [kind]
    was_checked = method.startswith("guests.stop")
    known = Correctness.PASS if was_checked and correctness is Correctness.NOT_RUN else correctness
    assert (ended.record.outcome, ended.record.correctness) == (Outcome.INVALID, known)
    assert ended.status == ("FAIL" if correctness is Correctness.FAIL else "ERROR")
    after = lab.measure(CELL, with_guest, number=2)
    assert (after.status, after.record.boot) == ("PASS", 2), "the next round boots another, and is not blamed"


def test_an_l1_that_panics_after_its_round_is_found_by_the_next(lab: ScriptedLab) -> None:
    assert lab.measure(CELL, with_guest).status == "PASS"
    lab.l1.panic()
    ended = lab.measure(CELL, with_guest, number=2)
    assert (ended.status, ended.kinds) == ("FAIL", [FindingKind.L1_PANICKED])
    assert ended.record.boot == 0, "nothing ran"
    assert lab.measure(CELL, with_guest, number=3).status == "PASS"


def test_an_l1_that_does_not_boot(lab: ScriptedLab) -> None:
    lab.at("system.hello", ScriptedL1.panic)
    ended = lab.measure(CELL, checked)
    assert (ended.status, ended.kinds) == ("ERROR", [FindingKind.NOT_BOOTED])
    assert (ended.record.outcome, ended.record.boot) == (Outcome.INVALID, 0)


def test_two_ends_of_the_lab_are_two_findings(lab: ScriptedLab) -> None:
    """Only an end of L1 is expected to be met twice."""
    lab.at("guests.stop_all", lambda _: (_ for _ in ()).throw(TimedOut("of the end")))
    ended = lab.measure(CELL, raising(TimedOut("of the body")))
    assert ended.kinds == [FindingKind.TIMED_OUT] * 2


def test_what_a_test_raises_as_the_end_of_l1_is_believed(lab: ScriptedLab) -> None:
    assert lab.measure(CELL, raising(L1Panicked("L1 panicked: Oops"))).kinds == [FindingKind.L1_PANICKED]


# --- tests that break off --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [KeyError("a bug"), AssertionError("a claim"), avocado.TestError("an error")]
)
def test_an_error_in_the_test_is_an_invalid_round(lab: ScriptedLab, error: Exception) -> None:
    """It goes on to Avocado, after the round has ended as every round does."""

    def body(this: Measuring, l1: L1) -> None:
        with l1.guest(L2Spec("storm")):
            lab.at("guests.stop_all", ScriptedL1.warn)
            raise error

    test = make_test(CELL, 1, lab.out / "log")
    test.body = body
    test.setUp()
    with pytest.raises(type(error), match=re.escape(str(error))):
        test.test()
    test.tearDown()
    (record,) = read_rounds(lab.out)
    assert [finding.kind for finding in record.findings] == [FindingKind.INTERRUPTED, FindingKind.WARNING]
    assert type(error).__name__ in record.reason
    assert record.outcome is Outcome.INVALID
    assert lab.l1.roster.running == {}
    assert lab.measure(CELL, checked, number=2).status == "PASS", "its warnings are not of the next round"


def test_a_test_that_is_interrupted_ends_its_round_too(lab: ScriptedLab) -> None:
    def body(_this: Measuring, l1: L1) -> None:
        l1.agent.guests.start("left", l2_argv(L2Spec("left")))
        lab.at("guests.stop_all", ScriptedL1.warn)
        raise KeyboardInterrupt

    test = make_test(CELL, 1, lab.out / "log")
    test.body = body
    test.setUp()
    with pytest.raises(KeyboardInterrupt):
        test.test()
    test.tearDown()
    (record,) = read_rounds(lab.out)
    assert [finding.kind for finding in record.findings] == [FindingKind.INTERRUPTED, FindingKind.WARNING]
    assert record.outcome is Outcome.INVALID
    assert lab.l1.roster.running == {}


def test_a_test_that_never_comes_back_is_interrupted_by_avocado(lab: ScriptedLab) -> None:
    """As Avocado does it: the body goes on in a thread of its own while tearDown writes the round."""
    gate = threading.Event()
    lab.at("guests.listen", lambda _: gate.wait(10))
    test = make_test(CELL, 1, lab.out / "log")
    test.body = lambda this, l1: l1.agent.guests.listen("nobody", "anything")
    test.timeout = 0.3  # until then the body waits at the gate, also on a busy machine
    test.run_avocado()
    # On a busy machine tearDown runs out of this time as well, and goes on in its thread too.
    (record,) = wait_for("the round", lambda: read_rounds(lab.out) or None, 20)
    gate.set()
    assert test.status == "INTERRUPTED" and record.outcome is Outcome.INVALID
    assert [finding.kind for finding in record.findings] == [FindingKind.INTERRUPTED]


def test_avocado_sees_what_the_round_says(lab: ScriptedLab) -> None:
    test = make_test(CELL, 1, lab.out / "log")
    test.body = raising(Lacking("no eptad here"))
    test.run_avocado()
    assert (test.status, test.fail_reason) == ("CANCEL", "no eptad here")


# --- without a run ---------------------------------------------------------------------------------


def test_without_a_run_there_is_a_hint(lab: ScriptedLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OUT_VARIABLE)
    test = make_test(CELL, 1, lab.out / "log")
    with pytest.raises(LabError, match=OUT_VARIABLE) as raised:
        test.setUp()
    assert "scripts/run" in raised.value.hint
    test.tearDown()
    assert read_rounds(lab.out) == []


def test_without_a_lab_the_round_is_invalid(lab: ScriptedLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SOCKET_VARIABLE)
    ended = lab.measure(CELL, checked)
    assert (ended.status, ended.kinds) == ("ERROR", [FindingKind.LAB])


def test_wrong_tags_are_refused_before_anything_is_measured(lab: ScriptedLab) -> None:
    test = make_test(CELL, 1, lab.out / "log", tags={"asyncpf": None, "load": {"dance"}})
    with pytest.raises(ConfigError, match="unknown load 'dance'"):
        test.setUp()
    test.tearDown()
    assert read_rounds(lab.out) == [] and lab.calls == []


def test_without_parameters_a_test_is_the_first_round_of_the_reference(lab: ScriptedLab) -> None:
    test = ScriptedTest("test", None, None, str(lab.out / "log"), tags={"asyncpf": None})
    test.setUp()
    this = test.this
    assert (this.kernel, this.number, this.cell) == ("unpatched", 1, cell("asyncpf"))
    test.tearDown()


@pytest.mark.parametrize(("fresh", "boots"), [("yes", [1, 2]), ("no", [1, 1])])
def test_a_fresh_boot_is_asked_for_by_a_parameter(lab: ScriptedLab, fresh: str, boots: list[int]) -> None:
    seen = [lab.measure(CELL, with_guest, number=n, fresh_boot=fresh).record.boot for n in (1, 2)]
    assert seen == boots


# --- probes on what differs between the kernels --------------------------------------------------------


WATCHED = (Watched("kvm:zap", ("kvm:zap",)), Watched("kvm:mmu_spte_update", ("kvm:mmu_spte_update.isra.0",)))


def test_a_round_with_probes_tells_what_ran(lab: ScriptedLab) -> None:
    lab.watch(WATCHED)
    lab.script.ran = {"kvm:mmu_spte_update": 3, "kvm:of_nobody": 9}
    record = lab.measure(CELL, with_guest, probed=True).record
    assert record.probed == Probed({"kvm:zap": 0, "kvm:mmu_spte_update": 3}) and not record.is_disturbed
    methods = [call.method for call in lab.calls]
    assert methods.index("kvm.watch") < methods.index("kvm.load"), "armed before KVM is loaded"
    assert methods.index("guests.stop_all") < methods.index("changed.read"), "what runs at their end counts"


def test_a_round_without_probes_says_nothing_of_it(lab: ScriptedLab) -> None:
    lab.watch(WATCHED)
    lab.script.ran = {"kvm:zap": 3}
    record = lab.measure(CELL, checked).record
    assert record.probed is None and not record.is_disturbed
    assert lab.called("kvm.watch") == [{"watched": []}] and lab.called("changed.read") == []


def test_probes_of_an_l1_that_is_gone_say_nothing(lab: ScriptedLab) -> None:
    lab.watch(WATCHED)
    lab.at("guests.stop_all", lambda l1: l1.panic())
    ended = lab.measure(CELL, checked, probed=True)
    assert ended.kinds == [FindingKind.L1_PANICKED] and ended.record.probed is None
