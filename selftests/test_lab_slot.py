# SPDX-License-Identifier: GPL-2.0-or-later
"""Slots: an L1 is booted when it must be, and nothing that happens to one stays unseen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_l1 import HELLO, FakeMachine, machines, make_spec
from samples import DIGESTS, L2_KERNEL

from guestloop.ground.errors import (
    GuestloopError,
    GuestStuck,
    InternalError,
    L1Ended,
    L1Panicked,
    L1Rebooted,
    LinkLost,
    NotBooted,
    TimedOut,
)
from guestloop.ground.usage import Usage
from guestloop.ground.wait import wait_for
from guestloop.lab import slot as module
from guestloop.lab.server import boot_ahead
from guestloop.lab.slot import Slot
from guestloop.lab.spec import Acquired
from guestloop.machines.host import Vendor

__all__ = ["machines"]  # a fixture

ENDS = [
    L1Panicked("L1 patched panicked: Oops: 0002\n  console | more"),
    L1Rebooted("L1 patched reset itself"),
    L1Ended("L1 patched: QEMU ended (killed by signal 9)"),
]
EACH_END = pytest.mark.parametrize("end", ENDS, ids=lambda end: end.kind)


@pytest.fixture
def slot(machines: list[FakeMachine], tmp_path: Path) -> Slot:
    return Slot(make_spec(tmp_path, "patched"), "patched")


# --- boots -----------------------------------------------------------------------------------------


def test_acquire_boots_once(slot: Slot, machines: list[FakeMachine], tmp_path: Path) -> None:
    assert slot.pid is None
    wanted = Acquired(1, 5.0, tmp_path / "patched.1/console.log", HELLO, Vendor.AMD, 256, L2_KERNEL, DIGESTS)
    assert slot.acquire() == wanted
    assert slot.acquire() == wanted
    assert len(machines) == 1 and slot.pid == machines[0].process.pid


def test_fresh_boots_what_was_used_and_only_that(slot: Slot, machines: list[FakeMachine]) -> None:
    slot.acquire()
    assert slot.acquire(fresh=True).boot == 1, "booted ahead and not used yet"
    slot.call("guests.stop_all", {}, 5)
    assert slot.acquire().boot == 1
    assert slot.acquire(fresh=True).boot == 2
    assert machines[0].closed
    assert slot.acquire(fresh=True).boot == 2


def test_after_two_failed_boots_it_is_not_tried_again(slot: Slot, machines: list[FakeMachine]) -> None:
    FakeMachine.fail.extend(L1Panicked(f"panic {number}", hint="look") for number in (1, 2, 3))
    for number in (1, 2, 2):
        with pytest.raises(NotBooted, match=rf"^L1 patched did not boot: panic {number}$") as raised:
            slot.acquire()
        assert raised.value.hint == "look"
    assert len(FakeMachine.fail) == 1 and machines == []


def test_a_boot_that_works_forgives_the_failed_one(slot: Slot, machines: list[FakeMachine]) -> None:
    FakeMachine.fail.append(TimedOut("waited 120 s"))
    with pytest.raises(NotBooted):
        slot.acquire()
    assert slot.acquire().boot == 2
    machines[0].fault = LinkLost("gone")
    FakeMachine.fail.append(TimedOut("waited 120 s"))
    with pytest.raises(NotBooted):
        slot.acquire()
    assert slot.acquire().boot == 4


def test_a_traceback_of_the_agent_is_not_lost_with_the_boot(slot: Slot) -> None:
    FakeMachine.fail.append(InternalError("swap_on", traceback="in swap_on"))
    with pytest.raises(NotBooted) as raised:
        slot.acquire()
    assert raised.value.traceback == "in swap_on"


def test_nothing_but_acquire_boots(slot: Slot, machines: list[FakeMachine]) -> None:
    calls: list[Callable[[], object]] = [
        lambda: slot.call("system.hello", {}, 5),
        slot.conclude,
        lambda: slot.throttle_swap(250),
    ]
    for call in calls:
        with pytest.raises(L1Ended, match=r"^L1 patched is not running$"):
            call()
    slot.set_pace(2.0, 1.5)
    assert slot.new_warnings() == slot.close() == [] and machines == []


def test_what_is_booted_ahead_is_what_is_acquired(machines: list[FakeMachine], tmp_path: Path) -> None:
    spec = make_spec(tmp_path, "unpatched", "patched")
    slots = {name: Slot(spec, name) for name in spec.parts}
    boot_ahead(slots)
    wait_for("both to boot", lambda: len(machines) == 2 or None, 5, interval=0.005)
    for slot in slots.values():
        assert slot.acquire().boot == 1
    assert [machine.methods() for machine in machines] == [["guests.stop_all", "system.rearm_warnings"]] * 2


def test_what_failed_ahead_is_tried_again_for_the_round_that_asks(
    slot: Slot, machines: list[FakeMachine]
) -> None:
    FakeMachine.fail.append(TimedOut("waited 120 s"))
    slot.boot_ahead()
    assert slot.acquire().boot == 2 and len(machines) == 1


def test_the_slowest_boot_says_how_slow_this_machine_is(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    used = [15.0, 10.0]
    monkeypatch.setattr(module, "read_threads", lambda pid: {pid: Usage(used.pop(0), 0.0)})
    slot.acquire()
    assert slot.boot_speed == 3.0
    slot.call("guests.stop_all", {}, 5)
    slot.acquire(fresh=True)
    assert slot.boot_speed == 3.0 and not used


# --- between rounds --------------------------------------------------------------------------------


def test_guests_that_a_killed_test_left_are_ended_and_warnings_rearmed(
    slot: Slot, machines: list[FakeMachine]
) -> None:
    for _ in range(2):
        slot.acquire()
        machines[0].calls.append(("a round", {}))
    assert machines[0].methods() == [
        *("system.rearm_warnings", "a round"),
        *("guests.stop_all", "system.rearm_warnings", "a round"),
    ], "a WARN_ONCE is seen in each round that causes it"


@EACH_END
def test_an_l1_that_broke_after_its_round_is_reported_once_and_then_booted_again(
    slot: Slot, machines: list[FakeMachine], end: GuestloopError
) -> None:
    slot.acquire()
    slot.conclude()
    machines[0].says("Kernel panic - not syncing: Oops")
    machines[0].end = end
    with pytest.raises(type(end)) as raised:
        slot.acquire()
    assert raised.value is end and machines[0].closed and len(machines) == 1
    assert slot.acquire().boot == 2
    assert not machines[1].closed
    assert slot.close() == []


@EACH_END
@pytest.mark.parametrize("where", ["call", "conclude", "throttle"])
def test_an_l1_that_broke_in_a_round_is_not_reported_again(
    slot: Slot, machines: list[FakeMachine], end: GuestloopError, where: str
) -> None:
    slot.acquire()
    machines[0].end = end
    asked: dict[str, Callable[[], object]] = {
        "call": lambda: slot.call("guests.stop_all", {}, 5),
        "conclude": slot.conclude,
        "throttle": lambda: slot.throttle_swap(250),
    }
    with pytest.raises(type(end)):
        asked[where]()
    assert slot.acquire().boot == 2 and machines[0].closed
    assert slot.close() == []


@EACH_END
def test_an_l1_that_breaks_while_it_is_acquired_is_reported_once(
    slot: Slot, machines: list[FakeMachine], end: GuestloopError
) -> None:
    slot.acquire()
    machines[0].ends_at["system.rearm_warnings"] = end
    with pytest.raises(type(end)):
        slot.acquire()
    assert slot.acquire().boot == 2


def test_an_l1_that_does_not_answer_is_booted_again(slot: Slot, machines: list[FakeMachine]) -> None:
    slot.acquire()
    machines[0].fault = TimedOut("L1 patched: guests.stop_all: no answer in 1200 s")
    assert slot.acquire().boot == 2 and machines[0].closed


def test_an_error_of_a_guest_is_not_the_end_of_its_l1(slot: Slot, machines: list[FakeMachine]) -> None:
    slot.acquire()
    machines[0].fault = GuestStuck("L2 storm does not answer")
    with pytest.raises(GuestStuck):
        slot.call("guests.finish_lap", {"name": "storm"}, 5)
    machines[0].fault = None
    assert slot.acquire().boot == 1
    machines[0].end = ENDS[0]
    with pytest.raises(L1Panicked):
        slot.acquire()


# --- warnings --------------------------------------------------------------------------------------


def test_conclude_returns_each_warning_once_in_the_round_it_came_in(
    slot: Slot, machines: list[FakeMachine]
) -> None:
    slot.acquire()
    machines[0].says("[ 1.0] all is well")
    assert slot.conclude() == []
    machines[0].says("[ 2.0] WARNING: CPU: 0 at kvm")
    assert slot.conclude() == ["[ 2.0] WARNING: CPU: 0 at kvm"]
    machines[0].says("[ 3.0] BUG: Bad page state")
    assert slot.conclude() == ["[ 3.0] BUG: Bad page state"]
    assert slot.conclude() == [] and machines[0].rounds == 4


def test_what_a_kernel_says_while_its_guests_end_is_of_this_round(
    slot: Slot, machines: list[FakeMachine]
) -> None:
    slot.acquire()
    machines[0].last_words = "[ 9.0] WARNING: mmu_free_root_page"
    assert slot.conclude() == ["[ 9.0] WARNING: mmu_free_root_page"]


@EACH_END
def test_an_l1_that_does_not_survive_the_end_of_its_guests(
    slot: Slot, machines: list[FakeMachine], end: GuestloopError
) -> None:
    slot.acquire()
    machines[0].end = end
    with pytest.raises(type(end)):
        slot.conclude()


def test_a_round_that_cannot_be_concluded_leaves_its_warnings_to_the_next(
    slot: Slot, machines: list[FakeMachine]
) -> None:
    slot.acquire()
    machines[0].says("[ 2.0] WARNING: early")
    machines[0].fault = TimedOut("waited 60 s for the console of L1 patched")
    with pytest.raises(TimedOut):
        slot.conclude()
    machines[0].fault = None
    assert slot.conclude() == ["[ 2.0] WARNING: early"]


def test_another_boot_begins_with_no_warnings(slot: Slot, machines: list[FakeMachine]) -> None:
    slot.acquire()
    machines[0].says("WARNING: of the first boot")
    slot.call("guests.stop_all", {}, 5)
    slot.conclude()
    slot.acquire(fresh=True)
    machines[1].says("WARNING: of the second boot")
    assert slot.conclude() == ["WARNING: of the second boot"]


def test_what_came_after_the_last_round_is_returned_at_the_close(
    slot: Slot, machines: list[FakeMachine]
) -> None:
    slot.acquire()
    machines[0].says("WARNING: in the round")
    slot.conclude()
    machines[0].says("WARNING: late")
    assert slot.close() == ["WARNING: late"]
    assert machines[0].closed and slot.pid is None


def test_complaints_of_a_boot_that_was_dropped_between_rounds_are_not_lost(
    slot: Slot, machines: list[FakeMachine]
) -> None:
    slot.acquire()
    slot.call("guests.stop_all", {}, 5)
    slot.conclude()
    machines[0].says("WARNING: between two rounds")
    slot.acquire(fresh=True)
    machines[1].says("WARNING: hangs")
    machines[1].fault = TimedOut("no answer")
    slot.acquire()
    assert slot.close() == ["WARNING: between two rounds", "WARNING: hangs"]


@EACH_END
def test_an_l1_that_broke_after_the_last_round_of_all(
    slot: Slot, machines: list[FakeMachine], end: GuestloopError
) -> None:
    slot.acquire()
    slot.conclude()
    machines[0].end = end
    assert slot.close() == [end.first_line]


def test_how_an_l1_ended_is_not_said_again_at_the_close(slot: Slot, machines: list[FakeMachine]) -> None:
    slot.acquire()
    machines[0].says("Kernel panic - not syncing: Oops")
    machines[0].end = ENDS[0]
    with pytest.raises(L1Panicked):
        slot.call("guests.stop_all", {}, 5)
    assert slot.close() == [] and machines[0].closed


# --- pace ------------------------------------------------------------------------------------------


def test_an_agent_that_is_gone_or_hangs_needs_no_pace(slot: Slot, machines: list[FakeMachine]) -> None:
    slot.acquire()
    slot.set_pace(3.0, 1.5)
    machines[0].fault = TimedOut("no answer in 5 s")
    slot.set_pace(4.0, 1.5)
    assert machines[0].paces == [(3.0, 1.5)]
