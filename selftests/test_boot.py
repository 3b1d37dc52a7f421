# SPDX-License-Identifier: GPL-2.0-or-later
"""When a boot is given up: by what it prints and by the CPU time that it gets, never by the clock alone."""

from __future__ import annotations

import pytest

from guestloop.ground.usage import NOTHING, Usage
from guestloop.vm.boot import IDLE_S, SILENT_CPU_S, WHOLE_CPU_S, BootVigil, Progress

START = Progress(1000.0, 0, NOTHING)


def after(seconds: float, printed: int, ran_s: float, waited_s: float = 0.0) -> Progress:
    """So long after the start."""
    return Progress(START.at_s + seconds, printed, Usage(ran_s, waited_s))


def test_a_boot_that_prints_and_runs_gets_on() -> None:
    vigil = BootVigil(START)
    looks = [after(second, second * 80, second * 0.9) for second in range(1, 60)]
    assert {vigil.look(now) for now in looks} == {""}


def test_a_loop_without_output_is_told_by_its_cpu_time() -> None:
    vigil = BootVigil(START)
    assert vigil.look(after(5, 400, 5.0)) == ""
    assert vigil.look(after(30, 400, 5.0 + SILENT_CPU_S - 0.1)) == ""
    wanted = f"nothing new on its console for {SILENT_CPU_S:.0f} s of its CPU time"
    assert vigil.look(after(31, 400, 5.0 + SILENT_CPU_S)) == wanted


def test_a_kernel_that_waits_in_vain_is_told_by_its_idle_time() -> None:
    vigil = BootVigil(START)
    assert vigil.look(after(5, 400, 5.0)) == ""
    assert vigil.look(after(5 + IDLE_S, 400, 5.5)) == "", "half a second of it was work"
    wanted = f"nothing new on its console while it was idle for {IDLE_S:.0f} s"
    assert vigil.look(after(6 + IDLE_S, 400, 5.5)) == wanted


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_busy_machine_is_no_reason(share: float) -> None:
    """Its threads want to run and are not let: that is neither idle, nor CPU time."""
    vigil = BootVigil(START)
    seconds = 0.9 * SILENT_CPU_S / share
    assert vigil.look(after(seconds, 0, share * seconds, (1 - share) * seconds)) == ""


def test_a_new_line_starts_both_anew() -> None:
    vigil = BootVigil(START)
    assert vigil.look(after(15, 0, 0.0)) == vigil.look(after(19, 80, 0.0)) == ""
    assert vigil.look(after(19 + IDLE_S - 1, 80, 0.0)) == ""
    assert vigil.look(after(19 + IDLE_S, 80, 0.0)) != ""


def test_one_that_prints_for_ever_gets_nowhere() -> None:
    vigil = BootVigil(START)
    for second in range(int(WHOLE_CPU_S)):
        assert vigil.look(after(second, second, float(second))) == ""
    assert vigil.look(after(WHOLE_CPU_S, 999, WHOLE_CPU_S)) == "no agent after 120 s of its CPU time"


def test_a_larger_l1_may_use_more_cpu_time() -> None:
    vigil = BootVigil(START, scale=4)
    assert vigil.look(after(30, 0, 4 * SILENT_CPU_S - 1)) == ""
    assert vigil.look(after(31, 0, 4 * SILENT_CPU_S)).startswith("nothing new on its console for 120 s ")
