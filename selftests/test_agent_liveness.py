# SPDX-License-Identifier: GPL-2.0-or-later
"""Stuck or slow: what counts is CPU time that could have been used, or was used for nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guestloop.agent import liveness
from guestloop.agent.liveness import (
    IDLE_LIMIT_S,
    SPIN_LAPS,
    UNMEASURED_LAP_S,
    Vigil,
    Vitals,
    read_faults,
    read_idle_s,
    read_vitals,
)

START = Vitals(idle_s=(1000.0,), vcpus_s=(50.0, 9.0), visits=7, faults=(3, 2, 0))


def later(seen: Vitals, idle: float = 0.0, vcpu: float = 0.0, **changed: Any) -> Vitals:
    first, *others = seen.vcpus_s
    return replace(seen, idle_s=(seen.idle_s[0] + idle,), vcpus_s=(first + vcpu, *others), **changed)


# --- idle ------------------------------------------------------------------------------------------


def test_a_guest_is_stuck_when_nothing_moved_although_l1_was_idle() -> None:
    vigil, now = Vigil(START), later(START, idle=IDLE_LIMIT_S - 0.1)
    assert vigil.look(now) == ""
    assert vigil.look(later(now, idle=0.1)) == (
        "nothing moved while L1 was idle for 20 s of CPU time: 7 pages visited, 3 faults taken, 2 fixed"
    )


def test_what_was_idle_before_it_was_asked_does_not_count() -> None:
    assert Vigil(later(START, idle=500)).look(later(START, idle=501)) == ""


@pytest.mark.parametrize(
    ("idled", "stuck"),
    [
        ((10.0, 10.0), True),  # as on 2 CPUs
        ((10.0,) * 32, True),  # not in 0.6 s, when 32 CPUs have been idle for 20 s in all
        ((9.0,) * 32, False),
        ((2.0, *(10.0,) * 31), False),  # its vCPU runs on one of them
        ((19.0, 1.0), True),  # one CPU is busy, and nothing comes of it
    ],
)
def test_what_counts_are_the_two_cpus_that_were_least_idle(idled: tuple[float, ...], stuck: bool) -> None:
    first = replace(START, idle_s=(0.0,) * len(idled))
    assert bool(Vigil(first).look(replace(first, idle_s=idled))) is stuck


@pytest.mark.parametrize(
    "moved", [{"visits": 8}, {"faults": (4, 2, 0)}, {"faults": (3, 3, 0)}, {"faults": (3, 2, 1)}]
)
def test_whatever_serves_the_load_starts_the_idle_time_anew(moved: dict[str, Any]) -> None:
    vigil, now = Vigil(START), later(START, idle=IDLE_LIMIT_S - 1)
    assert vigil.look(now) == ""
    now = later(now, idle=5, **moved)
    assert vigil.look(now) == "", "the idle time in which it moved does not count"
    now = later(now, idle=IDLE_LIMIT_S - 1)
    assert vigil.look(now) == ""
    assert vigil.look(later(now, idle=1)).startswith("nothing moved while L1 was idle for 20 s")


def test_on_a_busy_l0_the_idle_time_of_l1_counts_for_less() -> None:
    vigil, now = Vigil(START), START
    for _ in range(7):
        now = later(now, idle=10)
        assert vigil.look(now, slowdown=4) == ""
    assert vigil.look(later(now, idle=10), slowdown=4), "80 s of L1's clock are 20 s that it was given"


def test_an_l1_that_is_never_idle_makes_no_guest_stuck_in_its_kernel() -> None:
    """Swapping for minutes on one CPU: nothing of it is the guest's fault."""
    vigil = Vigil(START)
    assert not any(vigil.look(later(START, idle=number * 0.01)) for number in range(600))


# --- spinning --------------------------------------------------------------------------------------


def test_a_guest_that_runs_without_visiting_a_page_is_stuck_after_20_laps() -> None:
    vigil, now = Vigil(START, lap_s=2.0), later(START, vcpu=SPIN_LAPS * 2.0 - 1)
    assert vigil.look(now) == ""
    assert vigil.look(later(now, vcpu=1)) == (
        "a vCPU ran for 40 s while not a page was visited, 20 times what a lap takes; 7 pages visited"
    )


def test_time_of_several_vcpus_does_not_add_up() -> None:
    """Else a guest of 64 vCPUs would be stuck before one of them had ended a lap."""
    vigil, now = Vigil(START, lap_s=1.0), replace(START, vcpus_s=(50.0 + SPIN_LAPS - 1, 9.0 + SPIN_LAPS - 1))
    assert vigil.look(now) == ""
    assert "ran for 20 s" in vigil.look(replace(now, vcpus_s=(now.vcpus_s[0], 9.0 + SPIN_LAPS)))


def test_only_a_visit_excuses_a_guest_that_runs() -> None:
    """One that faults on the same page for ever moves KVM's counters and nothing else."""
    faulting, visiting = Vigil(START, lap_s=1.0), Vigil(START, lap_s=1.0)
    early = later(START, vcpu=19)
    assert faulting.look(early) == "" == visiting.look(early)
    assert "while not a page was visited" in faulting.look(later(early, vcpu=1, faults=(900, 900, 0)))
    visited = later(early, vcpu=1, visits=8)
    assert visiting.look(visited) == ""
    assert visiting.look(later(visited, vcpu=19)) == ""


def test_on_a_busy_l0_the_time_that_vcpus_run_counts_for_less() -> None:
    """L1's clock goes on while L0 runs something else."""
    vigil, now = Vigil(START, lap_s=1.0), later(START, vcpu=3 * SPIN_LAPS - 1)
    assert vigil.look(now, slowdown=3) == ""
    assert "ran for 20 s" in vigil.look(later(now, vcpu=1), slowdown=3)


def test_a_lap_that_was_not_measured_is_assumed_to_take_seconds() -> None:
    vigil, now = Vigil(START), later(START, vcpu=SPIN_LAPS * UNMEASURED_LAP_S - 0.1)
    assert vigil.look(now) == "" and vigil.look(later(now, vcpu=0.1))


# --- what is read ----------------------------------------------------------------------------------


def test_idle_time_is_of_each_cpu_and_does_not_include_waiting_for_a_disk() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    each = "".join(f"cpu{cpu} 1 2 3 {idle * ticks} 5500 6 7 8 0 0\n" for cpu, idle in ((0, 4), (12, 40)))
    assert read_idle_s(f"cpu  11 22 33 {44 * ticks} 11000 66 77 88 0 0\n{each}intr 99\n") == (4.0, 40.0)


def debugfs(root: Path, name: str, *counts: int) -> None:
    (root / name).mkdir(parents=True)
    for counter, count in zip(liveness.FAULTS, counts, strict=True):
        (root / name / counter).write_text(f"{count}\n")


def test_faults_are_those_of_the_vms_of_one_process(tmp_path: Path) -> None:
    debugfs(tmp_path, "77-12", 5, 4, 1)
    debugfs(tmp_path, "77-19", 10, 20, 30)
    debugfs(tmp_path, "770-12", 1000, 1000, 1000)
    assert read_faults(77, tmp_path) == (15, 24, 31)
    (tmp_path / "77-19/pf_fixed").unlink()  # its VM goes while it is read
    assert read_faults(77, tmp_path) == (15, 4, 31)
    assert read_faults(5, tmp_path) == read_faults(77, tmp_path / "none") == (0, 0, 0)


def test_vitals_of_a_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This one plays QEMU: the CPU time of a thread that runs grows, that of others does not count."""
    debugfs(tmp_path, f"{os.getpid()}-3", 8, 6, 2)
    monkeypatch.setattr(read_faults, "__defaults__", (tmp_path,))
    threads = [os.getpid()]
    before = read_vitals(os.getpid(), threads, visits=5)
    while read_vitals(os.getpid(), threads, 5).vcpus_s[0] < before.vcpus_s[0] + 0.02:
        sum(range(10_000))
    assert (before.visits, before.faults) == (5, (8, 6, 2)) and before.idle_s[0] > 0
    assert read_vitals(os.getpid(), [], 5).vcpus_s == ()


def test_a_guest_that_has_just_ended_reads_as_one_that_does_nothing() -> None:
    gone = read_vitals(2**22 + 1, [2**22 + 1], 3)
    assert (gone.vcpus_s, gone.visits, gone.faults) == ((0.0,), 3, (0, 0, 0))


def test_a_name_with_blanks_and_brackets_does_not_confuse_the_fields(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    fields = " ".join(["S", *"0" * 10, str(3 * ticks), str(2 * ticks), *"0" * 30])
    (tmp_path / "stat").write_text(f"7 (CPU 0) KVM) {fields}\n")
    assert liveness._cpu_s(tmp_path / "stat") == 5.0
