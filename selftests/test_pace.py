# SPDX-License-Identifier: GPL-2.0-or-later
"""How much slower than usual this machine is: what its L1s got, and deadlines here and in their agents."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from guestloop.ground import threads
from guestloop.ground.usage import HostTime, Usage, read_host, read_threads, spent, total
from guestloop.ground.wait import clock, wait_for
from guestloop.lab import pace as module
from guestloop.lab.pace import FORGET, TELL, Pace, boot_speed
from guestloop.vm.boot import USUAL_BOOT_CPU_S


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    clock.pace = clock.slowdown = 1.0
    yield
    clock.pace = clock.slowdown = 1.0


# --- what is read ----------------------------------------------------------------------------------


def test_threads_of_a_process_in_seconds(tmp_path: Path) -> None:
    for thread, text in ((70, "2500000000 500000000 12\n"), (71, "1000000000 0 3\n")):
        (tmp_path / f"70/task/{thread}").mkdir(parents=True)
        (tmp_path / f"70/task/{thread}/schedstat").write_text(text)
    (tmp_path / "70/task/72").mkdir()  # it ends while it is read
    seen = read_threads(70, tmp_path)
    assert seen == {70: Usage(2.5, 0.5), 71: Usage(1.0, 0.0)}
    assert total(seen) == Usage(3.5, 0.5)
    assert total(read_threads(5, tmp_path)) == Usage(0.0, 0.0)


def test_this_process_has_used_something() -> None:
    assert total(read_threads(os.getpid())).ran_s > 0


def test_slowdown_is_the_time_that_work_took_by_the_time_it_ran() -> None:
    assert Usage(1.0, 0.0).slowdown == 1.0
    assert Usage(0.5, 1.5).slowdown == 4.0
    assert Usage(0.01, 5.0).slowdown is None, "there is nothing to learn from so little"


def test_a_thread_that_ends_takes_nothing_away_from_the_others() -> None:
    """QEMU's worker threads come and go; their sums would go backwards."""
    before = {70: Usage(10.0, 1.0), 71: Usage(9.0, 9.0)}
    now = {70: Usage(10.5, 2.0), 72: Usage(0.25, 0.0)}
    assert spent(now, before) == Usage(0.75, 1.0)


def test_an_id_that_was_given_to_another_thread_begins_anew() -> None:
    assert spent({70: Usage(0.5, 0.25)}, {70: Usage(9.0, 9.0)}) == Usage(0.5, 0.25)


def test_what_the_cpus_of_the_host_did(tmp_path: Path) -> None:
    words = "cpu  100 10 50 600 20 5 5 10 90 9"  # the last two are guests, in user and nice already
    (tmp_path / "stat").write_text(f"{words}\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n")
    seen = read_host(tmp_path)
    assert seen == HostTime(idle=620, stolen=10, total=800)
    moved = HostTime(idle=820, stolen=30, total=1300) - seen
    assert (moved.share(moved.idle), moved.share(moved.stolen)) == (0.4, 0.04)
    assert HostTime(-3, 0, 100).share(-3) == 0.0, "waiting for a disk may go backwards"
    assert (seen - seen).share(0) == 0.0


def test_this_host_has_done_something() -> None:
    seen = read_host()
    assert 0 <= seen.idle < seen.total


def test_a_machine_is_slow_by_the_cpu_time_of_its_boots() -> None:
    assert boot_speed(Usage(3 * USUAL_BOOT_CPU_S, 100.0)) == 3.0
    assert boot_speed(Usage(USUAL_BOOT_CPU_S / 2, 0.0)) == 1.0, "nobody is asked to be faster than usual"
    assert boot_speed(Usage(3 * USUAL_BOOT_CPU_S, 0.0), scale=2) == 1.5, "it has twice as many CPUs"


# --- samples ---------------------------------------------------------------------------------------


class Machine:
    """L1s whose QEMUs have one thread each, and the paces and slowdowns that their agents were told."""

    def __init__(self) -> None:
        self.told: list[float] = []
        self.slowdowns: list[float] = []
        self.usage: dict[int, Usage] = {}
        self.pace = Pace(lambda: self.usage, self.tell)

    def tell(self, pace: float, slowdown: float) -> None:
        self.told.append(pace)
        self.slowdowns.append(slowdown)

    def sample(self, ran_s: float = 1.0, waited_s: float = 0.0) -> float:
        """A second goes by, in which each QEMU ran and waited for so long; returns the pace."""
        for pid in self.usage:
            self.usage[pid] += Usage(ran_s, waited_s)
        self.pace.sample({pid: {pid: usage} for pid, usage in self.usage.items()})
        return clock.pace


@pytest.fixture
def machine() -> Machine:
    machine = Machine()
    machine.usage[70] = Usage(30.0, 90.0)
    machine.sample()
    return machine


def test_what_was_used_before_it_was_seen_is_not_of_this_moment(machine: Machine) -> None:
    assert clock.pace == 1.0


def test_the_pace_follows_the_load_up_at_once(machine: Machine) -> None:
    assert machine.sample(0.5, 1.5) == 4.0
    assert machine.sample(0.25, 1.75) == 8.0


def test_the_pace_goes_down_step_by_step(machine: Machine) -> None:
    """A lull says nothing about the load that comes back a second later."""
    machine.sample(0.5, 1.5)
    assert machine.sample(1.0, 0.0) == pytest.approx(1 + 3 * FORGET)
    assert machine.sample(0.0, 0.0) == pytest.approx(1 + 3 * FORGET**2)
    for _ in range(40):
        machine.sample(1.0, 0.0)
    assert clock.pace == pytest.approx(1.0, abs=0.001)


def test_cpu_time_is_corrected_by_the_mean_of_some_seconds(machine: Machine) -> None:
    """The highest sample of a noisy load would let a guest that spins run for twice as long."""
    machine.pace.speed = 2.0
    for waited_s in (3.0, 1.0) * 40:
        machine.sample(1.0, waited_s)
    assert clock.slowdown == pytest.approx(3.0, rel=0.1) and clock.pace > 6.0
    machine.sample(0.0, 0.0)
    assert clock.slowdown == pytest.approx(3.0, rel=0.1), "an L1 that did nothing says nothing of L0"
    assert machine.slowdowns[-1] == pytest.approx(3.0, rel=0.2)


def test_a_slow_machine_is_slow_without_any_load(machine: Machine) -> None:
    machine.pace.speed = 2.5
    assert machine.sample(1.0, 0.0) == 2.5
    assert machine.sample(0.5, 0.5) == 5.0


def test_the_load_is_that_of_all_l1s_together(machine: Machine) -> None:
    machine.usage[80] = Usage(0.0, 0.0)
    machine.sample()
    assert machine.sample(0.5, 0.5) == 2.0
    machine.usage[80] += Usage(0.0, 3.0)
    assert machine.sample(0.5, 0.5) == 5.0


def test_an_l1_that_is_gone_no_longer_counts(machine: Machine) -> None:
    del machine.usage[70]
    machine.sample()
    assert clock.pace == 1.0


def test_agents_hear_of_real_changes_only(machine: Machine) -> None:
    machine.told.clear()
    machine.sample(1.0, TELL - 1.01)
    assert machine.told == []
    machine.sample(1.0, TELL - 0.99)
    assert machine.told == pytest.approx([TELL + 0.01])
    for _ in range(3):
        machine.sample(1.0, TELL - 0.99)
    assert len(machine.told) == 1, "what has not changed is not said again"
    for _ in range(40):
        machine.sample(1.0, 0.0)
    assert len(machine.told) == 2 and machine.told[1] < machine.told[0], "and of the end of a load too"


def test_an_agent_that_is_new_is_told_whatever_the_others_know(machine: Machine) -> None:
    """An L1 that is booted again under load would judge its guests by the seconds of an idle machine."""
    machine.sample(0.5, 1.5)
    machine.told.clear()
    machine.usage[80] = Usage(5.0, 5.0)
    machine.sample(0.5, 1.5)
    assert machine.told == [4.0]


# --- the thread ------------------------------------------------------------------------------------


def test_samples_are_taken_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE_S", 0.001)
    asked: list[int] = []
    told: list[float] = []

    def pids() -> list[int]:
        asked.append(1)
        return [os.getpid()]

    pace = Pace(pids, lambda pace, _slowdown: told.append(pace))
    pace.start()
    wait_for("some samples", lambda: len(asked) > 3 or None, 5, interval=0.001)
    assert told, "the L1 was new"
    pace.stop()
    wait_for(
        "the end of its thread",
        lambda: None if any(thread.name == "pace" for thread in threading.enumerate()) else True,
        5,
        interval=0.001,
    )


def test_a_fault_is_kept_and_the_measurement_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE_S", 0.001)
    monkeypatch.setattr(threads, "_kept", [])
    asked: list[int] = []

    def pids() -> list[int]:
        asked.append(1)
        if len(asked) == 1:
            raise ValueError("no numbers in schedstat")
        return []

    pace = Pace(pids, lambda _pace, _slowdown: None)
    pace.start()
    wait_for("another sample", lambda: len(asked) > 1 or None, 5, interval=0.001)
    pace.stop()
    ((who, error),) = threads._kept
    assert (who, str(error)) == ("the measurement of the pace", "no numbers in schedstat")
